package gobuild

import (
	"reflect"
	"strings"
	"testing"
)

func TestWords(t *testing.T) {
	for s, want := range map[string][]string{
		"":                        nil,
		"  -a  -b=c\t":            {"-a", "-b=c"},
		`'-X main.a=b c' "d'e" f`: {"-X main.a=b c", "d'e", "f"},
	} {
		got, err := words(s)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, %v", s, got, err)
		}
		var quoted []string
		for _, w := range got {
			quoted = append(quoted, quote(w))
		}
		if again, err := words(strings.Join(quoted, " ")); err != nil || !reflect.DeepEqual(again, want) {
			t.Errorf("%q: quoted %q", s, quoted)
		}
	}
	if _, err := words("'a"); err == nil {
		t.Error("an open quote")
	}
}

// TestLinkerFlags has flags of the linker of a user's, good and bad.
func TestLinkerFlags(t *testing.T) {
	for _, tt := range []struct{ user, want, err string }{
		{"", "-own", ""},
		{"-s -w -X main.version=1.2", "-own -X main.version=1.2", ""},
		{"-X 'main.a=b c'", "-own -X 'main.a=b c'", ""},
		{"-linkmode=external", "", "cannot be used"},
		{"-T 0x1000", "", "cannot be used"},
		{"all=-s", "", "PATTERN"},
		{"'-X", "", "no closing"},
	} {
		c := Config{GoFlags: GoFlags{LDFlags: tt.user}}
		got, err := c.linkerFlags("-own")
		if got != tt.want || (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: %q, %v", tt.user, got, err)
		}
	}
}

// TestUsersFlags has GOFLAGS count as for go build, and refused where they cannot.
func TestUsersFlags(t *testing.T) {
	for _, tt := range []struct {
		goflags string
		c, want GoFlags
		left    string
		err     string
	}{
		{"-tags=a,b -mod=mod", GoFlags{}, GoFlags{Tags: []string{"a", "b"}}, "-mod=mod", ""},
		{"-tags=a", GoFlags{Tags: []string{"c"}}, GoFlags{Tags: []string{"c"}}, "", ""},
		{"'-ldflags=-X main.a=b' -trimpath=false", GoFlags{}, GoFlags{LDFlags: "-X main.a=b", Whole: true}, "", ""},
		{"-trimpath", GoFlags{}, GoFlags{}, "", ""},
		{"-race", GoFlags{}, GoFlags{}, "", "-race"},
		{"-buildmode=pie", GoFlags{}, GoFlags{}, "", "-buildmode=pie"},
		{"-overlay=x", GoFlags{}, GoFlags{}, "", "-overlay=x"},
	} {
		t.Setenv("GOFLAGS", tt.goflags)
		tool, err := findToolchain(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		c, err := tool.honour(t.Context(), Config{GoFlags: tt.c})
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v", tt.goflags, err)
			}
			continue
		}
		if left := tool.env[len(tool.env)-1]; err != nil || !reflect.DeepEqual(c.GoFlags, tt.want) || left != "GOFLAGS="+tt.left {
			t.Errorf("%s: %+v, %s, %v", tt.goflags, c.GoFlags, left, err)
		}
	}
}

// TestPack has trees that cannot be packed, and one that can, twice.
func TestPack(t *testing.T) {
	if _, err := pack([]Files{{Dir: "testdata-missing", Prefix: "/x"}}, "/"); err == nil {
		t.Error("a directory that is not there")
	}
	all := []Files{{Dir: ".", Prefix: "/a/b", Fixed: true}}
	one, err := pack(all, "/a")
	if err != nil {
		t.Fatal(err)
	}
	two, err := pack(all, "/a")
	if err != nil || string(one) != string(two) {
		t.Error("two trees of one directory differ")
	}
	if _, err := pack(all, "/c"); err == nil {
		t.Error("a working directory that is not there")
	}
	if _, err := pack(append(all, all...), "/"); err == nil || !strings.Contains(err.Error(), "two files") {
		t.Errorf("a file twice: %v", err)
	}
	for s, want := range map[string]string{".:/srv": "/srv", ".:/": "/", "..": "/internal", ".:/a/../b/": "/b"} {
		if f, err := ParseFiles(s); err != nil || f.Prefix != want {
			t.Errorf("%s: %+v, %v", s, f, err)
		}
	}
	for _, s := range []string{"missing", "goflags.go", ":/x"} {
		if f, err := ParseFiles(s); err == nil {
			t.Errorf("%s: %+v", s, f)
		}
	}
}
