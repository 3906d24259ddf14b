package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sirupsen/logrus"
	"go.yaml.in/yaml/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	api "k8s.io/cluster-bootstrap/token/api"
	"k8s.io/cluster-bootstrap/token/util"

	"bowline.test/k3s/internal/access"
	"bowline.test/k3s/internal/logline"
	"bowline.test/k3s/internal/node"
	"bowline.test/k3s/internal/token"
	"bowline.test/k3s/internal/version"
)

// command is the flags of one `k3s token …`.
type command struct {
	kubeconfig, dataDir, description, output string
	groups, usages                           list
	ttl                                      time.Duration
	server, token, newToken                  string
	args                                     []string
}

// list is a flag that may be repeated and holds commas.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(s string) error {
	*l = append(*l, strings.Split(s, ",")...)
	return nil
}

var commands = map[string]func(*command) error{
	"create": create, "delete": remove, "list": show, "ls": show, "rotate": rotate,
	"generate": func(*command) error {
		text, err := util.GenerateBootstrapToken()
		if err == nil {
			fmt.Println(text)
		}
		return err
	},
}

// Run is `k3s token create|delete|generate|list|rotate`.
func Run(args []string) error {
	logline.Setup(false)
	if len(args) == 0 || args[0] == "--help" || args[0] == "-h" {
		fmt.Printf("NAME:\n   k3s token - Manage tokens\n   %s\n\nCOMMANDS:\n   create, delete, generate, list, rotate\n", version.StandIn)
		return nil
	}
	logrus.Warn(version.StandIn)
	do := commands[args[0]]
	if do == nil {
		return fmt.Errorf("No help topic for '%s'", args[0])
	}
	c := &command{}
	f := flag.NewFlagSet("token", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&c.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "")
	dataDir := os.Getenv("K3S_DATA_DIR")
	if dataDir == "" {
		dataDir = "/var/lib/rancher/k3s"
	}
	f.StringVar(&c.dataDir, "data-dir", dataDir, "")
	f.StringVar(&c.dataDir, "d", dataDir, "")
	switch args[0] {
	case "create":
		f.StringVar(&c.description, "description", "", "")
		f.Var(&c.groups, "groups", "")
		f.Var(&c.usages, "usages", "")
		f.DurationVar(&c.ttl, "ttl", 24*time.Hour, "")
	case "list", "ls":
		f.StringVar(&c.output, "output", "text", "")
		f.StringVar(&c.output, "o", "text", "")
	case "rotate":
		for _, name := range []string{"server", "s"} {
			f.StringVar(&c.server, name, "https://127.0.0.1:6443", "")
		}
		for _, name := range []string{"token", "t"} {
			f.StringVar(&c.token, name, os.Getenv("K3S_TOKEN"), "")
		}
		f.StringVar(&c.newToken, "new-token", "", "")
	}
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	c.args = f.Args()
	for _, a := range c.args {
		if strings.HasPrefix(a, "-") {
			return fmt.Errorf("%s after an argument: K3s takes flags only before (stand-in refuses)", a)
		}
	}
	return do(c)
}

// client connects as the administrator, and gives the server's CA.
func (c *command) client() (kubernetes.Interface, []byte, error) {
	if c.kubeconfig == "" {
		c.kubeconfig = "/etc/rancher/k3s/k3s.yaml"
	}
	k, config, err := node.Client(c.kubeconfig)
	if err != nil {
		return nil, nil, err
	}
	if err := rest.LoadTLSFiles(config); err != nil {
		return nil, nil, err
	}
	return k, config.CAData, nil
}

func create(c *command) error {
	t := Token{Description: c.description, Groups: c.groups, Usages: c.usages}
	if len(t.Groups) == 0 {
		t.Groups = []string{Group}
	}
	if len(t.Usages) == 0 {
		t.Usages = api.KnownTokenUsages
	}
	var text string
	var err error
	switch len(c.args) {
	case 0:
		text, err = util.GenerateBootstrapToken()
	case 1:
		text = c.args[0]
	default:
		err = errors.New("more than one token (stand-in refuses)")
	}
	if err != nil {
		return err
	}
	if t.Token, err = parse(text); err != nil {
		return err
	}
	if c.ttl < 0 {
		return fmt.Errorf("the ttl %s is in the past (stand-in refuses)", c.ttl)
	}
	if c.ttl > 0 {
		t.Expires = &metav1.Time{Time: time.Now().Add(c.ttl)}
	}
	if err := t.check(); err != nil {
		return err
	}
	k, ca, err := c.client()
	if err != nil {
		return err
	}
	if _, err := k.CoreV1().Secrets(metav1.NamespaceSystem).Create(context.Background(), t.secret(), metav1.CreateOptions{}); apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("a token with id %q already exists", t.Token.ID)
	} else if err != nil {
		return err
	}
	hash, err := token.CAHash(ca)
	if err != nil {
		return err
	}
	fmt.Println("K10" + hash + "::" + t.Token.String())
	return nil
}

func remove(c *command) error {
	if len(c.args) == 0 {
		return errors.New("missing argument; 'token delete' is missing token")
	}
	k, _, err := c.client()
	if err != nil {
		return err
	}
	for _, id := range c.args {
		if !util.IsValidBootstrapTokenID(id) {
			if i := strings.LastIndex(id, "::"); i >= 0 {
				id = id[i+2:]
			}
			t, err := parse(id)
			if err != nil {
				return fmt.Errorf("given token didn't match pattern %q or %q", api.BootstrapTokenIDPattern, api.BootstrapTokenPattern)
			}
			id = t.ID
		}
		if err := k.CoreV1().Secrets(metav1.NamespaceSystem).Delete(context.Background(), util.BootstrapTokenSecretName(id), metav1.DeleteOptions{}); err != nil {
			return fmt.Errorf("failed to delete bootstrap token %q: %w", id, err)
		}
		fmt.Printf("bootstrap token %q deleted\n", id)
	}
	return nil
}

func show(c *command) error {
	k, _, err := c.client()
	if err != nil {
		return err
	}
	secrets, err := k.CoreV1().Secrets(metav1.NamespaceSystem).List(context.Background(), metav1.ListOptions{FieldSelector: "type=" + string(api.SecretTypeBootstrapToken)})
	if err != nil {
		return fmt.Errorf("failed to list bootstrap tokens: %w", err)
	}
	tokens := []Token{}
	for n := range secrets.Items {
		t, err := fromSecret(&secrets.Items[n])
		if err != nil {
			fmt.Printf("%v", err)
			continue
		}
		tokens = append(tokens, t)
	}
	switch c.output {
	case "json":
		return json.NewEncoder(os.Stdout).Encode(tokens)
	case "yaml":
		return yaml.NewEncoder(os.Stdout).Encode(tokens)
	case "text":
	default:
		return fmt.Errorf("invalid output format: %s", c.output)
	}
	w := tabwriter.NewWriter(os.Stdout, 10, 4, 3, ' ', 0)
	const form = "%s\t%s\t%s\t%s\t%s\t%s\n"
	fmt.Fprintf(w, form, "TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION", "EXTRA GROUPS")
	for _, t := range tokens {
		ttl, expires := "<forever>", "<never>"
		if t.Expires != nil {
			ttl, expires = duration.ShortHumanDuration(time.Until(t.Expires.Time)), t.Expires.Format(time.RFC3339)
		}
		fmt.Fprintf(w, form, t.Token.ID, ttl, expires, orNone(t.Usages...), orNone(t.Description), orNone(t.Groups...))
	}
	return w.Flush()
}

func orNone(s ...string) string {
	if text := strings.Join(s, ","); text != "" {
		return text
	}
	return "<none>"
}

// rotate changes the server token; the old one is the key of old snapshots.
func rotate(c *command) error {
	fmt.Println("\033[33mWARNING\033[0m: Recommended to keep a record of the old token. If restoring from a snapshot, you must use the token associated with that snapshot.")
	if c.token == "" {
		data, err := os.ReadFile(filepath.Join(c.dataDir, "server", "token"))
		if err != nil {
			return err
		}
		c.token = strings.TrimSpace(string(data))
	}
	info, err := access.Validate(context.Background(), c.server, c.token, access.WithUser("server"))
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]string{"newToken": c.newToken})
	if err != nil {
		return err
	}
	if _, err := info.Request(context.Background(), http.MethodPut, "/v1-k3s/token", body, nil); err != nil {
		return err
	}
	fmt.Println("Token rotated, restart k3s nodes with new token")
	return nil
}
