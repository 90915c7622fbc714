package seccomp

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	p := sample{epoll: 3, timer: 4, net: []int{5}, disks: []sampleDisk{{6, 512, 1 << 20}}, reporter: &testReporter}.policy()
	var out strings.Builder
	if err := p.Explain(&out); err != nil {
		t.Fatal(err)
	}
	const want = `Policy guest: a call that no line below allows is reported and kills the process; so does any 32-bit or x32 call.
  read(fd 5)                                                receive
  write(fd 1)                                               print
  write(fd 5)                                               send
  write(fd 2, buf 0x7fff00002000, size <= 160, ip 0x10234)  report
  pread64(fd 6, size 512, offset <= 1048064)                use a block
  pwrite64(fd 6, size 512, offset <= 1048064)               use a block
  epoll_pwait(fd 3, sigmask 0)                              wait
  timerfd_settime(fd 4, flags 1, old 0)                     set a deadline
  clock_gettime(clock 1)                                    read the monotonic clock
  clock_gettime(clock 0)                                    read the wall clock
  exit_group()                                              exit
  getppid(ip & 0xffffffffffffff00 == 0x10200)               nothing: fails, to show that this policy holds
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// TestExplainGroups scatters the rules of a call.
func TestExplainGroups(t *testing.T) {
	p := &Policy{Name: "p", Deny: Kill, Rules: []Rule{
		{Nr: 9, Why: "one", Conds: []Cond{{Field: Arg3, Op: Masked, Mask: 0x30, Value: 0x20}}},
		{Nr: 400, Why: "two", Conds: []Cond{Arg5.Is(11)}},
		{Nr: 9, Why: "three"},
	}}
	var out strings.Builder
	if err := p.Explain(&out); err != nil {
		t.Fatal(err)
	}
	const want = `Policy p: a call that no line below allows kills the process; so does any 32-bit or x32 call.
  mmap(flags & 0x30 == 0x20)  one
  mmap()                      three
  syscall 400(arg5 0xb)       two
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

var errFull = errors.New("full")

// fullAfter takes that many writes and then fails.
type fullAfter int

func (n *fullAfter) Write(b []byte) (int, error) {
	if *n--; *n < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestExplainReportsWriteErrors(t *testing.T) {
	for writes := range 3 {
		w := fullAfter(writes)
		if err := (sample{}).policy().Explain(&w); !errors.Is(err, errFull) {
			t.Errorf("after %d writes: error %v, want %v", writes, err, errFull)
		}
	}
}

func TestDisassemble(t *testing.T) {
	p := &Policy{Name: "p", Deny: Trap, Rules: []Rule{
		{Nr: 0, Conds: []Cond{Arg0.Is(5), Arg2.AtMost(64)}},
		{Nr: 9, Conds: []Cond{Arg3.Masked(0x20, 0x20), IP.Is(0x1234)}},
		{Nr: 231},
	}}
	const want = `(000) ld       [4]  ; architecture
(001) jeq      #0xc000003e jt 3 jf 2
(002) ret      #0x30000  ; trap
(003) ld       [0]  ; number of the call
(004) jeq      #0x0        jt 5 jf 16
(005) ld       [16]  ; arg0 low
(006) jeq      #0x5        jt 7 jf 15
(007) ld       [20]  ; arg0 high
(008) jeq      #0x0        jt 9 jf 15
(009) ld       [36]  ; arg2 high
(010) jgt      #0x0        jt 15 jf 11
(011) jeq      #0x0        jt 12 jf 14
(012) ld       [32]  ; arg2 low
(013) jgt      #0x40       jt 15 jf 14
(014) ret      #0x7fff0000  ; allow
(015) ret      #0x30000  ; trap
(016) jeq      #0x9        jt 17 jf 29
(017) ld       [40]  ; arg3 low
(018) and      #0x20
(019) jeq      #0x20       jt 20 jf 28
(020) ld       [44]  ; arg3 high
(021) and      #0x0
(022) jeq      #0x0        jt 23 jf 28
(023) ld       [8]  ; ip low
(024) jeq      #0x1234     jt 25 jf 28
(025) ld       [12]  ; ip high
(026) jeq      #0x0        jt 27 jf 28
(027) ret      #0x7fff0000  ; allow
(028) ret      #0x30000  ; trap
(029) jeq      #0xe7       jt 30 jf 31
(030) ret      #0x7fff0000  ; allow
(031) ret      #0x30000  ; trap
`
	if got := Disassemble(mustAssemble(t, p)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestDisassembleNamesEveryInstruction takes a program with far jumps.
func TestDisassembleNamesEveryInstruction(t *testing.T) {
	prog := mustAssemble(t, sample{net: make([]int, 63)}.policy())
	text := Disassemble(prog)
	if !strings.Contains(text, "ja ") || strings.Contains(text, "unknown") || strings.Count(text, "\n") != len(prog) {
		t.Error(text)
	}
	if text := Disassemble(prog[:0]); text != "" {
		t.Errorf("no program is %q", text)
	}
}

func TestJSON(t *testing.T) {
	p := &Policy{Name: "p", Deny: Trap, Rules: []Rule{{Nr: 1, Why: "print", Conds: []Cond{Arg0.Is(1), IP.Masked(3, 1)}}}}
	got, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"name":"p","rules":[{"nr":1,"conds":[{"field":"arg0","op":"equal","value":1},` +
		`{"field":"ip","op":"masked","value":1,"mask":3}],"why":"print"}],"deny":"trap"}`
	if string(got) != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
