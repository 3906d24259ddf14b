package options

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// item is one key of the merged configuration with its values in order.
type item struct {
	key    string
	values []string
	source string
}

// ReadFiles merges config.yaml and its drop-ins by K3s's rules and gives the
// arguments that K3s puts before those of the command line.
//
// The file comes first, then FILE.d/*.yaml and *.yml in name order; a later
// key replaces an earlier one, `key+` appends to it; lists become repeated
// flags. A missing file is fine when it is not asked for by name or when a
// drop-in exists.
func ReadFiles(path string, explicit bool) ([]Argument, error) {
	if strings.HasPrefix(path, "http://") || strings.HasPrefix(path, "https://") {
		return nil, fmt.Errorf("config from a URL is not built in this stand-in: %s", path)
	}
	var items []item
	found := false
	files, err := dropins(path + ".d")
	if err != nil {
		return nil, err
	}
	for i, f := range append([]string{path}, files...) {
		data, err := os.ReadFile(f)
		if i == 0 && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = true
		if items, err = merge(items, data, f); err != nil {
			return nil, err
		}
	}
	if !found && explicit {
		return nil, fmt.Errorf("open %s: no such file or directory", path)
	}
	var out []Argument
	for _, it := range items {
		for _, v := range it.values {
			out = append(out, Argument{Name: it.key, Value: v, Source: filepath.Base(it.source)})
		}
	}
	return out, nil
}

// Argument is one `--name=value` with the file that it came from.
type Argument struct{ Name, Value, Source string }

// dropins lists the yaml files of the drop-in folder in name order.
func dropins(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() || (!strings.HasSuffix(e.Name(), ".yaml") && !strings.HasSuffix(e.Name(), ".yml")) {
			continue
		}
		out = append(out, filepath.Join(dir, e.Name()))
	}
	return out, nil
}

// merge adds one file's keys to the items.
func merge(items []item, data []byte, source string) ([]item, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("failed to parse %s: %w", source, err)
	}
	if doc.Kind == 0 {
		return items, nil
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return items, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("failed to parse %s: yaml: line %d: the document is not a mapping", source, root.Line)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		raw := root.Content[i].Value
		if seen[raw] {
			return nil, fmt.Errorf("failed to parse %s: yaml: line %d: key %q already set in map", source, root.Content[i].Line, raw)
		}
		seen[raw] = true
		values, err := scalars(root.Content[i+1])
		if err != nil {
			return nil, fmt.Errorf("failed to parse %s: line %d: %s: %w", source, root.Content[i].Line, raw, err)
		}
		key, add := strings.CutSuffix(raw, "+")
		at := find(items, key)
		switch {
		case at < 0:
			items = append(items, item{key, values, source})
		case add:
			items[at].values = append(items[at].values, values...)
		default:
			items[at].values, items[at].source = values, source
		}
	}
	return items, nil
}

func find(items []item, key string) int {
	for i := range items {
		if items[i].key == key {
			return i
		}
	}
	return -1
}

// scalars gives a scalar or a list of scalars as text.
func scalars(n *yaml.Node) ([]string, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return []string{""}, nil
		}
		return []string{n.Value}, nil
	case yaml.AliasNode:
		return scalars(n.Alias)
	case yaml.SequenceNode:
		var out []string
		for _, c := range n.Content {
			if c.Kind != yaml.ScalarNode {
				return nil, errors.New("a list may only hold scalars (stand-in: the contract is silent on nested values)")
			}
			out = append(out, c.Value)
		}
		return out, nil
	default:
		return nil, errors.New("a nested mapping is no flag value (stand-in: the contract is silent on nested values)")
	}
}
