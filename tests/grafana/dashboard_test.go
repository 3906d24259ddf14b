// Package grafana holds the shipped dashboard against Grafana's schema, as the SDK has it that Grafana makes from that:
// dashboard, panels of every type with their options, and queries. Nothing may be missing, and nothing be there that it
// does not know.
package grafana

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func check(text []byte) error {
	plugins.RegisterDefaultPlugins()
	var read dashboard.Dashboard
	err := read.UnmarshalJSONStrict(text)
	var found cog.BuildErrors
	// An empty list is what it returns for a dashboard without errors, too.
	if err != nil && !(errors.As(err, &found) && len(found) == 0) {
		return err
	}
	if current := dashboard.NewDashboard().SchemaVersion; read.SchemaVersion != current {
		return fmt.Errorf("schemaVersion %d, and the current one is %d", read.SchemaVersion, current)
	}
	return read.Validate()
}

func shipped(t *testing.T) []byte {
	text, err := os.ReadFile("../../packaging/grafana/bowline.json")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestDashboardIsAsTheSchemaSays(t *testing.T) {
	if err := check(shipped(t)); err != nil {
		t.Fatal(err)
	}
}

// The same with one thing wrong, so that the test above can fail.
func TestWhatTheSchemaDoesNotKnowIsFound(t *testing.T) {
	for _, change := range [][2]string{
		{`"graphTooltip": 1`, `"graphTooltips": 1`},
		{`"cellHeight": "sm"`, `"cellHeights": "sm"`},
		{`"mode": "thresholds"`, `"mode": 7`},
		{`"editorMode": "code"`, `"editorModes": "code"`},
		{`"frameIndex": 0,`, ``},
		{`"schemaVersion": 42`, `"schemaVersion": 17`},
	} {
		text := shipped(t)
		wrong := bytes.Replace(text, []byte(change[0]), []byte(change[1]), 1)
		if bytes.Equal(text, wrong) {
			t.Fatalf("%s is not in the dashboard", change[0])
		}
		if check(wrong) == nil {
			t.Errorf("%s in place of %s was not found", change[1], change[0])
		}
	}
}
