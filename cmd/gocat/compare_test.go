package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/compare"
	"gocat/internal/image"
	"gocat/internal/peer"
	"gocat/internal/testhost"
)

// markdownTable reads the first table of a text whose rows are sources: cells by
// heading and row.
func markdownTable(t *testing.T, text string) map[string]map[string]string {
	t.Helper()
	table := map[string]map[string]string{}
	var headings []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| ") {
			if headings != nil && !strings.HasPrefix(line, "|-") {
				break
			}
			continue
		}
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if headings == nil {
			if cells[0] == "source" {
				headings = cells
			}
			continue
		}
		if len(cells) != len(headings) {
			t.Fatalf("%d cells below %d headings: %s", len(cells), len(headings), line)
		}
		for i, heading := range headings[1:] {
			if table[heading] == nil {
				table[heading] = map[string]string{}
			}
			table[heading][cells[0]] = cells[i+1]
		}
	}
	return table
}

// The table in docs/eof.md is what gocat compare finds here.
func TestCompareDocs(t *testing.T) {
	testhost.Slow(t)
	needKVM(t)
	testhost.NeedRoot(t, "to make taps")
	page, err := os.ReadFile("../../docs/eof.md")
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"compare", "--format=markdown"}
	if solo5 := os.Getenv("GOCAT_SOLO5"); solo5 != "" {
		for _, kind := range []string{"hvt", "spt"} {
			args = append(args, "--peer=solo5-"+kind+"="+solo5+"/tenders/"+kind+"/solo5-"+kind)
		}
	}
	want, got := markdownTable(t, string(page)), markdownTable(t, gocat(t, args...).wantSuccess(t).stdout)
	compared := 0
	for heading, column := range got {
		documented := want[heading]
		if documented == nil && strings.HasPrefix(heading, "solo5-") {
			continue // of another version
		}
		compared++
		for source, cell := range column {
			if documented[source] != cell {
				t.Errorf("%s, %s: %q, but docs/eof.md has %q", source, heading, cell, documented[source])
			}
		}
		if len(documented) != len(column) {
			t.Errorf("%s: %d sources, but docs/eof.md has %d", heading, len(column), len(documented))
		}
	}
	if compared < 2 {
		t.Errorf("docs/eof.md has %d of the columns", compared)
	}
}

// compareJSON is what the tests look at of gocat compare --format=json.
type compareJSON struct {
	Sources []struct{ Name string }
	Tenders []struct{ Name, Version string }
	Runs    []struct {
		Source, Tender, Guest, EOF, Words, Message, Violation string
		Received                                              int
	}
}

func TestCompareJSON(t *testing.T) {
	t.Parallel()
	needKVM(t)
	r := gocat(t, "compare", "--format=json", "--source=file,null", "--guest=simple", "--eof=auto,zero,auto").wantSuccess(t)
	d := parse[compareJSON](t, r)
	if len(d.Sources) != 2 || len(d.Tenders) != 2 || len(d.Runs) != 8 {
		t.Fatalf("%+v", d)
	}
	for _, run := range d.Runs {
		if run.Words != "ends" || run.Violation != "" || run.Guest != "simple" || (run.Received > 0) != (run.Source == "file") {
			t.Errorf("%+v", run)
		}
	}
}

// A user without privileges has no taps, and may have no KVM: the cells say so,
// and the rest is compared.
func TestCompareUnprivileged(t *testing.T) {
	testhost.NeedRoot(t, "to look at others' processes")
	dir, err := os.MkdirTemp("", "gocat") // which that user can enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/gocat", b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	kvm := filepath.Join(t.TempDir(), "kvm") // /dev/kvm may be open to all
	if err := os.WriteFile(kvm, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("mount --bind %s /dev/kvm && exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all %s/gocat compare --format=json --source=pipe,tap --eof=auto", kvm, dir)
	r := call{program: "unshare", args: []string{"-m", "sh", "-c", script}, dir: "/"}.run(t).wantSuccess(t)
	for _, run := range parse[compareJSON](t, r).Runs {
		want, message := "ends", ""
		switch {
		case run.Tender == "gocat hvt":
			want, message = "not run", "/dev/kvm"
		case run.Source == "tap":
			want, message = "not run", "network namespace"
		}
		if run.Words != want || !strings.Contains(run.Message, message) || run.Violation != "" {
			t.Errorf("%+v", run)
		}
	}
}

func TestCompareErrors(t *testing.T) {
	none := kernel(t, exiting(0))
	plain := file(t, "plain", nil)
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--source=pipe,pip"}, `--source: there is no "pip"; want one of pipe, pipe-empty,`},
		{[]string{"--source="}, "--source: name at least one"},
		{[]string{"--guest="}, "--guest: name at least one"},
		{[]string{"--tender=gocat"}, `--tender: there is no "gocat"; want one of gocat-spt, gocat-hvt`},
		{[]string{"--tender=solo5-hvt"}, "no tender is a solo5-hvt: name Solo5's with --peer"},
		{[]string{"--peer=solo5-hvt"}, "want solo5-hvt=PATH or solo5-spt=PATH"},
		{[]string{"--peer=xen=/bin/true"}, `"xen" is no tender`},
		{[]string{"--peer=solo5-hvt=/nonexistent"}, "there is no such file"},
		{[]string{"--peer=solo5-hvt=" + plain}, "not executable"},
		{[]string{"--peer=solo5-spt=/bin/true"}, "does not answer --version"},
		{[]string{"--guest=" + none}, "declares no network device"},
		{[]string{"--guest=/nonexistent"}, "no such file or directory (want simple, advanced or the path"},
		{[]string{"--guest=" + plain}, "ELF header"},
		{[]string{"--guest=" + kernel(t, exiting(0, image.Entry{Name: "a", Type: image.Net})), "--net=b"}, `no network device "b", but a`},
		{[]string{"--eof=never"}, `"never": want auto, zero or again`},
		{[]string{"--format=xml"}, `"xml": want table, json, markdown or html`},
		{[]string{"--jobs=0"}, "want at least 1"},
		{[]string{"--timeout=1ms"}, "want at least 1s"},
		{[]string{"cat.hvt"}, "unexpected argument"},
		{[]string{"cat.hvt", "--", "-l"}, "unexpected argument"},
	} {
		gocat(t, append([]string{"compare"}, test.args...)...).wantError(t, "gocat", test.want)
	}
}

// What differs from the documentation makes the status 1.
func TestCompareJudgement(t *testing.T) {
	good := &compare.Run{Source: compare.Sources()[0], Tender: peer.Gocat("gocat", image.HVT), Guest: &compare.Guest{Name: "simple"}}
	wrong := *good
	wrong.Violation = "spins, but ends is documented"
	if err := judgement(&compare.Report{Runs: []*compare.Run{good}}); err != nil {
		t.Error(err)
	}
	err := judgement(&compare.Report{Runs: []*compare.Run{good, &wrong, good}})
	const want = "1 of 3 runs differ from what gocat documents; the first: pipe, gocat hvt --eof=auto, simple: spins, but ends is documented"
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

// A terminal gets colours and a line of progress, which is gone at the end;
// NO_COLOR is heeded.
func TestCompareTerminal(t *testing.T) {
	args := []string{"compare", "--tender=gocat-spt", "--source=null,file", "--eof=auto"}
	for _, env := range [][]string{nil, {"NO_COLOR=1"}} {
		master, slave := testhost.RawPTY(t)
		if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 60}); err != nil {
			t.Fatal(err)
		}
		before := testhost.SharedState(t, slave)
		p := (&testhost.Command{Path: program, Args: args, Files: []*os.File{slave, slave, slave}, Env: env}).Start(t)
		read := make(chan string)
		go func() { // to the mark that follows all that it prints
			text, _ := bufio.NewReader(master).ReadString(0)
			read <- text
		}()
		if status := testhost.Status(p.Wait()); status != 0 {
			t.Errorf("status %d", status)
		}
		if after := testhost.SharedState(t, slave); after != before {
			t.Errorf("terminal was %+v, is %+v", before, after)
		}
		if _, err := slave.Write([]byte{0}); err != nil {
			t.Fatal(err)
		}
		text := <-read
		table := text[strings.LastIndex(text, "\r\x1b[K")+1:]
		if !strings.Contains(text, "1 of 4: ") && !strings.Contains(text, "2 of 4: ") || !strings.Contains(table, "gocat spt") {
			t.Errorf("%q", text)
		}
		for line := range strings.Lines(table) {
			if width := len(strings.TrimSpace(line)); width > 60 && !strings.Contains(line, "\x1b") {
				t.Errorf("%d columns in a line: %q", width, line)
			}
		}
		if colours := strings.Contains(table, "\x1b[32mends\x1b[0m"); colours != (env == nil) {
			t.Errorf("%v: colours: %v", env, colours)
		}
	}
}

// children returns the processes whose parent is this one, except those in
// except, and reaps those that have ended.
func children(t *testing.T, except ...int) (pids []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, stat := range stats {
		b, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		if f[1] != strconv.Itoa(os.Getpid()) || slices.Contains(except, pid) {
			continue
		}
		if got, _ := unix.Wait4(pid, nil, unix.WNOHANG, nil); got != pid {
			pids = append(pids, pid)
		}
	}
	return pids
}

// grandchildren returns the processes whose parent is pid.
func grandchildren(pid int) []string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	all := strings.Fields(string(b))
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, thread := range threads {
		b, _ := os.ReadFile(thread)
		all = append(all, strings.Fields(string(b))...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Whatever ends gocat compare, and whenever, nothing of it is left.
func TestCompareKilled(t *testing.T) {
	testhost.Slow(t)
	needKVM(t)
	testhost.NeedRoot(t, "to make taps")
	// Orphans become children of this process.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	for n, sig := range []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGKILL, unix.SIGKILL, unix.SIGKILL} {
		t.Run(fmt.Sprint(sig, n), func(t *testing.T) {
			master, slave := testhost.RawPTY(t)
			go io.Copy(io.Discard, master)
			before, temp := testhost.SharedState(t, slave), t.TempDir()
			c := testhost.Command{Path: program, Files: []*os.File{slave, testhost.Null(t), slave}, Env: []string{"TMPDIR=" + temp},
				Args: []string{"compare", "--jobs=12", "--source=tap,pipe-open,pipe,tty,dgram,file"}}
			p := c.Start(t)
			for start := time.Now(); len(grandchildren(p.Pid)) < 4 && time.Since(start) < 30*time.Second; {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(time.Duration(100*n) * time.Millisecond)
			if n := len(grandchildren(p.Pid)); n == 0 {
				t.Fatal("it runs nothing")
			}
			p.Signal(sig)
			if status := testhost.Status(p.Wait()); status != 128+int(sig) {
				t.Errorf("status %d", status)
			}
			var left []int
			for start := time.Now(); time.Since(start) < 20*time.Second; time.Sleep(10 * time.Millisecond) {
				if left = children(t); left == nil {
					break
				}
			}
			for _, pid := range left {
				b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
				t.Errorf("process %d is left: %.200s", pid, b)
				unix.Kill(pid, unix.SIGKILL)
			}
			if sig != unix.SIGKILL && left != nil {
				t.Error("and it had the time")
			}
			if files, err := os.ReadDir(temp); err != nil || len(files) != 0 {
				t.Errorf("files are left: %v, %v", files, err)
			}
			if b, err := os.ReadFile("/proc/net/dev"); err != nil || strings.Contains(string(b), "gocat0") {
				t.Errorf("a tap is left: %v\n%s", err, b)
			}
			if after := testhost.SharedState(t, slave); after != before {
				t.Errorf("terminal was %+v, is %+v", before, after)
			}
		})
	}
}

// The page needs nothing from elsewhere, and says what the table says.
func TestCompareHTML(t *testing.T) {
	page := gocat(t, "compare", "--format=html", "--tender=gocat-spt", "--source=null,dgram-empty").wantSuccess(t).stdout
	for _, want := range []string{"<!DOCTYPE html>", `name="viewport"`, `<div class="good">ends</div>`, "ends at the empty one", `data-label="gocat spt (again: refused)"`, "each of 12 runs"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q", want)
		}
	}
	for _, no := range []string{"http:", "https:", "<script", "src=", "@import", "%!"} {
		if strings.Contains(page, no) {
			t.Errorf("it has %q", no)
		}
	}
	for _, element := range []string{"table", "tr", "td", "th", "div", "span", "p"} {
		if a, b := strings.Count(page, "<"+element+" ")+strings.Count(page, "<"+element+">"), strings.Count(page, "</"+element+">"); a != b {
			t.Errorf("%d <%s> and %d </%[2]s>", a, element, b)
		}
	}
}
