package agent

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// echo is a server that says its name to everybody and then holds the line.
func echo(t *testing.T, name string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(c, name)
		}
	}()
	return l
}

// ask gives the name of the server behind the balancer, and the open line.
func ask(t *testing.T, b *balancer) (string, net.Conn) {
	t.Helper()
	c, err := net.Dial("tcp", b.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	line, _ := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line), c
}

func TestBalancerFailsOver(t *testing.T) {
	one, two := echo(t, "one"), echo(t, "two")
	file := filepath.Join(t.TempDir(), "lb.json")
	server := "https://" + one.Addr().String()
	b, err := newBalancer(file, server, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go b.run(ctx)
	name, line := ask(t, b)
	if name != "one" {
		t.Fatal(name)
	}
	b.update([]string{two.Addr().String(), one.Addr().String()})
	if name, _ := ask(t, b); name != "one" {
		t.Errorf("%s: a server that answers is left for another", name)
	}
	_ = one.Close()
	if name, _ := ask(t, b); name != "two" {
		t.Errorf("%q: no other server was tried", name)
	}
	// The line to the first server is closed when its port does not answer.
	_ = line.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := line.Read(make([]byte, 100)); err == nil || os.IsTimeout(err) {
		t.Errorf("%v: the connection to a failed server stays open", err)
	}
	again, err := newBalancer(file, server, 0)
	if err != nil {
		t.Fatal(err)
	}
	if want := b.servers; !slices.Equal(again.servers, want) {
		t.Errorf("%v, want %v: the next start does not know the servers", again.servers, want)
	}
	other, err := newBalancer(file, "https://127.0.0.1:9", 0)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(other.servers, []string{"127.0.0.1:9"}) {
		t.Errorf("%v: another --server means another cluster", other.servers)
	}
	if _, err := newBalancer(file, "http://127.0.0.1:9", 0); err == nil {
		t.Error("http was taken")
	}
}
