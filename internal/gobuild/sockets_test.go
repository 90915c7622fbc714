package gobuild

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"gocat/internal/image"
)

// TestSocketModules compares the versions and checksums of the network stack's
// modules with those that gocat itself is tested with.
func TestSocketModules(t *testing.T) {
	for file, mine := range map[string][]byte{"go.mod": socketsMod, "go.sum": socketsSum} {
		b, err := os.ReadFile("../../" + file)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for line := range bytes.Lines(b) {
			text := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(string(line)), "// indirect"))
			all = append(all, text)
		}
		n := 0
		for line := range bytes.Lines(mine) {
			for _, m := range moved {
				if text := strings.TrimSpace(string(line)); strings.HasPrefix(text, m.module+" ") {
					n++
					if !slices.Contains(all, text) {
						t.Errorf("%s of gocat does not have %q", file, text)
					}
				}
			}
		}
		if want := len(moved); n != want && n != 2*want {
			t.Errorf("sockets%s: %d lines, expected %d or twice that", file[2:], n, want)
		}
	}
}

// TestWithoutSockets builds programs that make no socket, one of which imports
// package net: nothing of sockets is in them.
func TestWithoutSockets(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  "module example\n\ngo 1.25\n",
		"main.go": "package main\n\nimport \"net\"\n\nfunc main() { println(net.ParseIP(\"::1\").String()) }\n",
	} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tool, err := findToolchain(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range []string{dir, "gocat/examples/hello"} {
		c := Config{Package: pkg, Target: image.SPT, Service: "service", Manifest: NewManifest()}.inItsModule()
		pkgs, err := tool.list(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		program, sockets, err := tool.linkFor(t.Context(), c, usesNet(pkgs))
		if err != nil || sockets {
			t.Fatalf("%s: sockets %v, %v", pkg, sockets, err)
		}
		for _, s := range []string{socketsPath + "/", "gvisor", "gocatTry", kernelPath + ".socketCall", "--nameserver="} {
			if bytes.Contains(program, []byte(s)) {
				t.Errorf("%s: there is %q", pkg, s)
			}
		}
	}
}
