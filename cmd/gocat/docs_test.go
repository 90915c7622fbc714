package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// A block of commands of a page: lines after "$ ", and what each prints.
type block struct {
	note     string // of the comment before it: what it needs, or why it is not run
	commands []command
}

type command struct {
	line   string
	output []string // "..." in a line stands for anything, and as a line for any lines
}

// blocks returns the blocks of commands of a page of Markdown.
func blocks(t *testing.T, page string) (all []block) {
	t.Helper()
	note := ""
	var current *block
	for line := range strings.SplitSeq(page, "\n") {
		switch {
		case current == nil && line == "```console":
			current = &block{note: note}
		case current == nil:
			if text, ok := strings.CutPrefix(line, "<!-- "); ok {
				note = strings.TrimSuffix(text, " -->")
			} else if line != "" {
				note = ""
			}
		case line == "```":
			all, current, note = append(all, *current), nil, ""
		case strings.HasPrefix(line, "$ "):
			current.commands = append(current.commands, command{line: line[2:]})
		case len(current.commands) == 0:
			t.Errorf("a block begins with %q, which is no command", line)
		default:
			last := &current.commands[len(current.commands)-1]
			last.output = append(last.output, line)
		}
	}
	return all
}

// matches reports whether text is what a page has of it.
func matches(text string, want []string) bool {
	var b strings.Builder
	b.WriteString(`^`)
	for _, line := range want {
		if line == "..." {
			b.WriteString(`(?:.*\n)*`)
			continue
		}
		parts := strings.Split(line, "...")
		for i, p := range parts {
			if i > 0 {
				b.WriteString(`.*`)
			}
			b.WriteString(regexp.QuoteMeta(p))
		}
		b.WriteString(`\n`)
	}
	return regexp.MustCompile(b.String() + `$`).MatchString(text)
}

func TestMatches(t *testing.T) {
	for _, test := range []struct {
		text string
		want []string
		ok   bool
	}{
		{"", nil, true}, {"x\n", nil, false}, {"a\n", []string{"a"}, true}, {"ab\n", []string{"a..."}, true}, {"b\n", []string{"a..."}, false},
		{"1\n2\n3\n", []string{"1", "...", "3"}, true}, {"1\n3\n", []string{"1", "...", "3"}, true}, {"1\n2\n", []string{"1", "...", "3"}, false},
		{"x\ny\n", []string{"..."}, true}, {"a.b\n", []string{"a.b"}, true}, {"axb\n", []string{"a.b"}, false},
	} {
		if matches(test.text, test.want) != test.ok {
			t.Errorf("%q and %q: not %v", test.text, test.want, test.ok)
		}
	}
}

// Notes that pages give their blocks.
const (
	noteKVM    = "needs: kvm"
	noteNet    = "needs: root and a network namespace"
	noteServes = "runs until it is ended"
	noteNot    = "not run: "
)

// What README and the pages of docs have people type does what they say, in a copy
// of the repository, one page after the other in a shell of its own.
func TestDocs(t *testing.T) {
	testhost.Slow(t)
	names, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append([]string{"../../README.md"}, names...) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		page := blocks(t, string(text))
		if page == nil {
			continue
		}
		t.Run(filepath.Base(name), func(t *testing.T) { follow(t, page) })
	}
}

// follow runs the blocks of a page.
func follow(t *testing.T, page []block) {
	dir := filepath.Join(t.TempDir(), "gocat")
	if err := copyTree("../..", dir); err != nil {
		t.Fatal(err)
	}
	script, ran := "exec 2>&1\nset -o pipefail\n", []command(nil)
	netns := false
	var server string
	for _, b := range page {
		switch {
		case strings.HasPrefix(b.note, noteNot):
			continue
		case b.note == noteKVM:
			needKVM(t)
		case b.note == noteNet:
			testhost.NeedRoot(t, "to make a tap in a network of its own")
			netns = true
		case b.note == noteServes:
			last := len(b.commands) - 1
			server = b.commands[last].line
			b.commands = b.commands[:last]
		case b.note != "" && !strings.HasPrefix(b.note, "A test runs"):
			t.Fatalf("a block has the note %q", b.note)
		}
		for _, c := range b.commands {
			script += c.line + "\nprintf '\\001%d\\001\\n' $?\n"
			ran = append(ran, c)
		}
	}
	out := shell(t, dir, script, netns)
	pieces := regexp.MustCompile("\x01([0-9]+)\x01\n").Split(out, -1)
	statuses := regexp.MustCompile("\x01([0-9]+)\x01\n").FindAllStringSubmatch(out, -1)
	if len(statuses) != len(ran) {
		t.Fatalf("%d of %d commands were run:\n%s", len(statuses), len(ran), out)
	}
	for i, c := range ran {
		// Which certificates gocat build finds is this host's own.
		pieces[i] = regexp.MustCompile(`(?m)^gocat: warning: the image has the root certificates of this host.*\n`).ReplaceAllString(pieces[i], "")
		if statuses[i][1] != "0" || !matches(pieces[i], c.output) {
			t.Errorf("$ %s\nstatus %s, prints\n%s\nthe page has\n%s", c.line, statuses[i][1], pieces[i], strings.Join(c.output, "\n"))
		}
	}
	if server != "" {
		serves(t, dir, server)
	}
}

// environment has the go command's directories where they are, and HOME where it
// does no harm.
func environment(t *testing.T, dir string) []string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE", "GOPATH").Output()
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Split(strings.TrimSpace(string(out)), "\n")
	home := filepath.Join(dir, "..", "home")
	if err := os.MkdirAll(home, 0o755); err != nil {
		t.Fatal(err)
	}
	return append(os.Environ(), "HOME="+home, "GOCACHE="+f[0], "GOMODCACHE="+f[1], "GOPATH="+f[2], "GOFLAGS=",
		"PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"))
}

// shell runs a script and returns what it prints.
func shell(t *testing.T, dir, script string, netns bool) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	if netns {
		script = "ip link set dev lo up\n" + script
	}
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir, cmd.Env = dir, environment(t, dir)
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if netns {
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWNET
	}
	out, err := cmd.Output()
	if cmd.Process != nil {
		unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // what it left in the background
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// serves runs a command that must answer on port 8080 of the loopback interface,
// with a free port in place of 8080.
func serves(t *testing.T, dir, line string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	cmd := exec.Command("bash", "-c", "exec "+strings.ReplaceAll(line, "8080", strconv.Itoa(port)))
	cmd.Dir, cmd.Env = dir, environment(t, dir)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var answer string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		r, err := (&http.Client{Timeout: 10 * time.Second}).Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
		if err == nil {
			b, _ := io.ReadAll(r.Body)
			r.Body.Close()
			answer = string(b)
			break
		}
	}
	cmd.Process.Signal(unix.SIGTERM)
	cmd.Wait()
	if !strings.HasPrefix(answer, "Hello from a Go program") {
		t.Errorf("$ %s\nanswers %q; it printed\n%s", line, answer, out.String())
	}
}

// copyTree copies the repository without what was built in it.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch name := d.Name(); {
		case d.IsDir() && (name == ".git" || rel == "share" || rel == "vendor"):
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		case name == ".git" || !d.Type().IsRegular() || rel == "gocat" || rel == "gocat-net" || rel == "gocat-runtime" || strings.HasSuffix(rel, ".deb"):
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, info.Mode().Perm())
	})
}
