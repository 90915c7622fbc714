package compare

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/peer"
	"gocat/internal/testhost"
)

// example is a report of a tender of gocat's, with one defect, and one of
// another with a name that wants to be markup.
func example() *Report {
	gocat := peer.Gocat("/gocat", image.HVT)
	other := &peer.Tender{Kind: "solo5-hvt", Name: "solo5-hvt <b>|v1", Target: image.HVT}
	sources := Sources()
	pipe, tty := sources[0], sources[6]
	simple, advanced := &Guest{Name: "simple", Variant: 1}, &Guest{Name: "advanced", Variant: 2}
	all := func(k Kind) Outcome { return Outcome{Kind: k, Sent: 10, Received: 10, Reads: -1} }
	spins := all(Spins)
	spins.CPU, spins.Reads = 0.987, 12345
	ends := all(Ends)
	ends.After = 12 * time.Millisecond
	lost := ends
	lost.Received, lost.After = 7, 40*time.Millisecond
	refused := Outcome{Kind: Refused, Status: 1, Sent: 10, Message: "solo5-hvt: <no> | `way`"}
	rep := &Report{Kernel: "6.1", Sources: []*Source{pipe, tty}, Tenders: []*peer.Tender{gocat, other}}
	add := func(s *Source, t *peer.Tender, eof device.EOF, a, b Outcome) {
		for i, o := range []Outcome{a, b} {
			r := &Run{Source: s, Tender: t, Guest: []*Guest{simple, advanced}[i], EOF: eof, Outcome: o}
			r.Violation = r.violation()
			rep.Runs = append(rep.Runs, r)
		}
	}
	add(pipe, gocat, device.EOFAuto, ends, ends)
	add(pipe, gocat, device.EOFZero, ends, lost)
	add(pipe, gocat, device.EOFAgain, spins, spins)
	add(pipe, other, 0, spins, spins)
	add(tty, gocat, device.EOFAuto, ends, ends)
	add(tty, gocat, device.EOFZero, ends, ends)
	add(tty, gocat, device.EOFAgain, all(Hangs), all(Hangs))
	add(tty, other, 0, refused, refused)
	return rep
}

func TestTable(t *testing.T) {
	rep := example()
	var b strings.Builder
	if err := rep.WriteTable(&b, 0, false); err != nil {
		t.Fatal(err)
	}
	table, rest, _ := strings.Cut(b.String(), "\n\n")
	want := `source  gocat hvt                                       solo5-hvt
                                                        <b>|v1
pipe    ends                                            spins
        zero: simple ends; advanced ends, 3 bytes lost
        again: spins
tty     ends                                            refused
        again: hangs`
	if table != want {
		t.Errorf("got\n%s\nwant\n%s", table, want)
	}
	for _, want := range []string{
		"gocat hvt --eof=zero: ends, 3 bytes lost\n    pipe (advanced)\n    40 ms after the end of the input\n",
		"gocat hvt --eof=zero: ends\n    pipe (simple), tty\n    12 ms after the end of the input\n",
		"gocat hvt --eof=again: spins\n    pipe\n    99 % CPU, 12,300 reads a second\n",
		"solo5-hvt <b>|v1: refused\n    tty\n    solo5-hvt: <no> | `way`\n",
	} {
		if !strings.Contains(rest, want) {
			t.Errorf("no %q in\n%s", want, rest)
		}
	}
	wrong := rep.Violations()
	if len(wrong) != 1 || wrong[0].Violation != "ends, 3 bytes lost, but ends is documented" || wrong[0].String() != "pipe, gocat hvt --eof=zero, advanced" {
		t.Errorf("%+v", wrong)
	}
	b.Reset()
	if err := rep.WriteTable(&b, 0, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\x1b[32mends\x1b[0m", "\x1b[31;1mzero: simple ends; advanced ends, 3 bytes lost\x1b[0m", "\x1b[33magain: spins\x1b[0m", "\x1b[31;1mspins\x1b[0m", "\x1b[33mrefused\x1b[0m"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q", want)
		}
	}
}

// A narrow terminal gets folded cells, and a very narrow one several tables.
func TestTableFits(t *testing.T) {
	for columns, want := range map[int]string{
		40: `source  gocat hvt           solo5-hvt
                            <b>|v1
pipe    ends                spins
        zero: simple ends;
        advanced ends, 3
        bytes lost
        again: spins
tty     ends                refused
        again: hangs`,
		20: `source  gocat hvt
pipe    ends
        zero: simple
        ends;
        advanced
        ends, 3
        bytes lost
        again: spins
tty     ends
        again: hangs

source  solo5-hvt
        <b>|v1
pipe    spins
tty     refused`,
	} {
		var b strings.Builder
		if err := example().WriteTable(&b, columns, false); err != nil {
			t.Fatal(err)
		}
		if got, rest, ok := strings.Cut(b.String(), "\n\nA cell"); !ok || got != want {
			t.Errorf("%d columns: got\n%s\nwant\n%s", columns, got, want)
		} else if columns == 40 {
			for line := range strings.Lines(rest) {
				if len(line) > columns+1 && !strings.Contains(line, "gocat hvt --eof") && !strings.Contains(line, "   a ") {
					t.Errorf("%d columns: %q", columns, line)
				}
			}
		}
	}
	long := []line{{"v0.12.1-7-g469c1a8", fair}, {"again: ends at the empty one", bad}}
	want := []line{{"v0.12.1-7-", fair}, {"g469c1a8", fair}, {"again:", bad}, {"ends at", bad}, {"the empty", bad}, {"one", bad}}
	if got := fold(long, 10); !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

// What another policy makes of all sources stands in the heading, but not if it
// is what the first makes of them.
func TestHeadings(t *testing.T) {
	rep := example()
	gocat := rep.Tenders[0]
	for _, test := range []struct {
		kinds [3]Kind // by policy
		want  string
	}{
		{[3]Kind{Ends, Ends, Refused}, "gocat hvt, again: refused"},
		{[3]Kind{Ends, Ends, Ends}, "gocat hvt"},
		{[3]Kind{NotRun, NotRun, NotRun}, "gocat hvt"},
	} {
		for _, r := range rep.Runs {
			r.Outcome = Outcome{Kind: test.kinds[r.EOF]}
		}
		if got := strings.Join(rep.headings(gocat), ", "); got != test.want {
			t.Errorf("%v: %q, want %q", test.kinds, got, test.want)
		}
	}
}

func TestMarkdown(t *testing.T) {
	var b strings.Builder
	if err := example().WriteMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`| source | gocat hvt | solo5-hvt<br>&lt;b>\|v1 |` + "\n|---|---|---|\n",
		"| a pipe with data, then closed | ends<br>**zero: simple ends; advanced ends, 3 bytes lost**<br>again: spins | **spins** |\n",
		"| a terminal: lines, then ^D | ends<br>again: hangs | refused |\n",
		"`solo5-hvt: <no> | 'way'`",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestHTML(t *testing.T) {
	var b strings.Builder
	if err := example().WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"gocat did not do what it documents:", "<li>pipe, gocat hvt --eof=zero, advanced: ends, 3 bytes lost, but ends is documented</li>",
		"<div>&lt;b&gt;|v1</div>", `<div class="whole">solo5-hvt</div>`, "solo5-hvt: &lt;no&gt; | `way`", `<div class="bad">spins</div>`,
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(b.String(), "<b>") || strings.Contains(b.String(), "%!") {
		t.Errorf("what was not escaped:\n%s", b.String())
	}
}

func TestJSON(t *testing.T) {
	var b strings.Builder
	if err := example().WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var d struct {
		Kernel string
		Runs   []struct {
			Source, Tender, EOF, Kind, Message, Violation string
			After                                         int64 `json:"after_ns"`
			CPU                                           float64
			Reads                                         float64 `json:"reads_per_second"`
			Sent, Received                                int
		}
	}
	if err := json.Unmarshal([]byte(b.String()), &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Runs) != 16 || d.Kernel != "6.1" {
		t.Fatalf("%+v", d)
	}
	if r := d.Runs[3]; r.Source != "pipe" || r.Tender != "gocat hvt" || r.EOF != "zero" || r.Kind != "ends" || r.After != 40e6 || r.Received != 7 || r.Violation == "" {
		t.Errorf("%+v", r)
	}
	rep := example()
	rep.Tenders[1].Version = "v1"
	rep.Runs[0].Outcome = Outcome{Signal: "SIGSEGV", AtEmpty: true, Altered: true, Message: "no"}
	b.Reset()
	if err := rep.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	testhost.Documented(t, "eof.md", []byte(b.String()))
	if r := d.Runs[6]; r.EOF != "" || r.Kind != "spins" || r.CPU != 0.987 || r.Reads != 12345 {
		t.Errorf("%+v", r)
	}
}

// A message is one line that a terminal can be shown.
func TestMessage(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		"one\ntwo\n":              "one",
		"\n one \n":               "one",
		"red \x1b[31m \xff":       "red ?[31m ?",
		strings.Repeat("x", 1000): strings.Repeat("x", 300) + "...",
	} {
		if got := message(in); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What a process uses is seen, by the precise clocks and by the others.
func TestMeasure(t *testing.T) {
	self := os.Getpid()
	before, coarse := measure(self), ticks("/proc/self")
	const burnt = 300 * time.Millisecond
	for start := used(t); used(t)-start < burnt; {
	}
	after := measure(self)
	if !before.precise {
		t.Log("this kernel has no schedstat")
	}
	if got := after.ran - before.ran; got < burnt/2 {
		t.Errorf("measured %v of %v", got, burnt)
	}
	if got := ticks("/proc/self") - coarse; got < burnt/2 {
		t.Errorf("counted %v of %v", got, burnt)
	}
	if before.reads >= 0 && after.reads < before.reads {
		t.Errorf("%d reads, then %d", before.reads, after.reads)
	}
	if !runnable(self) {
		t.Error("this process does not run")
	}
	if u := measure(-1); u.ran != 0 || runnable(-1) {
		t.Errorf("no process: %+v", u)
	}
}

// used returns the processor time of this process.
func used(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestConclude(t *testing.T) {
	ms := time.Millisecond
	for _, test := range []struct {
		ran, waited, elapsed time.Duration
		kind                 Kind
		patience             int
	}{
		{0, 0, 399 * ms, Stopped, 0},
		{0, 0, 400 * ms, Waits, 1},
		{30 * ms, 0, 800 * ms, Waits, 2},
		{60 * ms, 0, 400 * ms, Stopped, 0},
		{199 * ms, 0, 200 * ms, Stopped, 0},
		{200 * ms, 0, 210 * ms, Spins, 1},
		{200 * ms, 1800 * ms, 2000 * ms, Spins, 1}, // a loaded machine
		{0, 2000 * ms, 2000 * ms, Stopped, 0},      // a very loaded one
		{2000 * ms, 0, 2000 * ms, Spins, 10},
		{600 * ms, 0, 2000 * ms, Stopped, 0},
	} {
		kind, patience := conclude(usage{}, usage{ran: test.ran, waited: test.waited}, test.elapsed)
		if kind != test.kind || patience != test.patience {
			t.Errorf("%+v: %v, %d", test, kind, patience)
		}
	}
}
