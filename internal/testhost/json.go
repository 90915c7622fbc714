package testhost

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
)

// Documented fails t unless a page of docs explains every name in some JSON
// values: it has it as `name`.
func Documented(t testing.TB, page string, values []byte) {
	t.Helper()
	text, err := os.ReadFile("../../docs/" + page)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for d := json.NewDecoder(bytes.NewReader(values)); ; {
		var v any
		if err := d.Decode(&v); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		collect(names, v)
	}
	if len(names) == 0 {
		t.Error("no names")
	}
	for name := range names {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/%s does not explain %q", page, name)
		}
	}
}

// collect adds the names of a JSON value.
func collect(names map[string]bool, v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			collect(names, e)
		}
	case map[string]any:
		for name, e := range v {
			names[name] = true
			collect(names, e)
		}
	}
}
