package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"bowline.test/k3s/internal/version"
)

// Client reads a kubeconfig; its requests are not throttled.
func Client(file string) (kubernetes.Interface, *rest.Config, error) {
	c, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		return nil, nil, err
	}
	c.QPS, c.Burst, c.UserAgent = 50, 100, "k3s/"+version.Version+" ("+runtime.GOOS+"/"+runtime.GOARCH+") stand-in"
	k, err := kubernetes.NewForConfig(c)
	return k, c, err
}

// WaitFor polls an address of the API server until it answers 200.
func WaitFor(ctx context.Context, c *rest.Config, url string) error {
	h, err := rest.HTTPClientFor(c)
	if err != nil {
		return err
	}
	last := errors.New("not asked yet")
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		answer, err := h.Do(r)
		if err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(answer.Status)
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w (last: %w)", url, ctx.Err(), last)
		case <-time.After(poll):
		}
	}
}
