package gobuild

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// pkg is what is asked of go list.
type pkg struct {
	ImportPath, Name, Dir string
	Standard, DepOnly     bool
	CgoFiles              []string
	Imports               []string
	Error                 *struct{ Pos, Err string }
}

const pkgFields = "ImportPath,Name,Dir,Standard,DepOnly,CgoFiles,Imports,Error"

// list returns the package named and all that it depends on.
func (t *toolchain) list(ctx context.Context, c Config, env ...string) ([]pkg, error) {
	args := []string{"list", "-e", "-deps", "-tags", c.tags(), "-json=" + pkgFields}
	if c.Test {
		args = append(args, "-test")
	}
	with := *t
	with.env = append(slices.Clip(t.env), env...)
	args = append(append(append(args, c.Others...), c.Package), c.Sources...)
	out, err := with.run(ctx, c.Dir, args...)
	if err != nil {
		return nil, err
	}
	var pkgs []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		pkgs = append(pkgs, p)
	}
}

// check says what keeps packages from being a unikernel, and returns what a
// unikernel of them cannot do.
func (t *toolchain) check(ctx context.Context, c Config, pkgs []pkg) (warnings []string, err error) {
	for _, p := range pkgs {
		if p.Error != nil {
			return nil, t.explain(ctx, c, p)
		}
		if !p.DepOnly && p.Name != "main" && !c.Test {
			return nil, fmt.Errorf("%s is package %s, and a unikernel is made of a package main", p.ImportPath, p.Name)
		}
		if !p.Standard && slices.Contains(p.Imports, "os/exec") {
			warnings = append(warnings, p.ImportPath+" imports os/exec: a unikernel cannot start programs")
		}
		if !p.Standard && !c.Test && slices.Contains(p.Imports, "os/signal") {
			warnings = append(warnings, p.ImportPath+" imports os/signal: from outside SIGTERM and SIGINT come, once, under gocat; no others, and under Solo5's tenders none")
		}
	}
	return warnings, nil
}

// explain says in one line why a package cannot be built. Where all of its files
// are excluded, cgo is a likely reason, which another list tells.
func (t *toolchain) explain(ctx context.Context, c Config, p pkg) error {
	if strings.Contains(p.Error.Err, "build constraints exclude all Go files") {
		pkgs, err := t.list(ctx, c, "CGO_ENABLED=1")
		for i := range pkgs {
			if err == nil && pkgs[i].ImportPath == p.ImportPath && len(pkgs[i].CgoFiles) > 0 {
				return fmt.Errorf("%s uses cgo (%s), which a unikernel cannot", p.ImportPath, pkgs[i].CgoFiles[0])
			}
		}
	}
	text := p.Error.Err
	if p.Error.Pos != "" {
		text = p.Error.Pos + ": " + text
	}
	return failure("list", text, errors.New("no reason given"))
}
