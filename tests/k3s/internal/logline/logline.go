// Package logline sets logrus up as K3s does: text lines on standard error,
// `time="…" level=info msg="…"`, fatal ends the process with status 1.
package logline

import (
	"os"
	"time"

	"github.com/sirupsen/logrus"
)

// Setup makes the standard logger write K3s's form of lines.
func Setup(debug bool) {
	logrus.SetOutput(os.Stderr)
	logrus.SetFormatter(&logrus.TextFormatter{DisableColors: true, FullTimestamp: true, TimestampFormat: time.RFC3339})
	if debug {
		logrus.SetLevel(logrus.DebugLevel)
	}
}
