package seccomp

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	p := SPT(SPTGrants{
		EpollFD: 3, TimerFD: 4, Reporter: &testReporter,
		Net: []NetGrant{{"stdin", 5}}, Block: []BlockGrant{{"disk", 6, 512, 1 << 20}},
	})
	var out strings.Builder
	if err := p.Explain(&out); err != nil {
		t.Fatal(err)
	}
	const want = `Policy spt: a call that no line below allows is reported and kills the process; 32-bit and x32 calls kill it at once.
  read(fd 5)                                                receive from network device stdin
  write(fd 1)                                               print on the console
  write(fd 5)                                               send to network device stdin
  write(fd 2, buf 0x7fff00002000, size <= 160, ip 0x10234)  let the fault reporter print its message, from its own code only
  pread64(fd 6, size 512, offset <= 1048064)                read a block of block device disk
  pwrite64(fd 6, size 512, offset <= 1048064)               write a block of block device disk
  epoll_pwait(fd 3, sigmask 0)                              wait for its devices, the signal mask left alone
  timerfd_settime(fd 4, flags 1, old 0)                     set the deadline of a wait, as an absolute time
  clock_gettime(clock 1)                                    read the monotonic clock
  clock_gettime(clock 0)                                    read the wall clock
  arch_prctl(option 0x1002)                                 set the base of thread-local storage
  exit_group()                                              exit
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// TestExplainGroups scatters the rules of a call.
func TestExplainGroups(t *testing.T) {
	p := &Policy{Name: "p", Deny: Kill, Rules: []Rule{
		{Nr: 9, Why: "one", Conds: []Cond{{Field: Arg3, Op: Masked, Mask: 0x30, Value: 0x20}}},
		{Nr: 400, Why: "two", Conds: []Cond{equal(Arg5, 11)}},
		{Nr: 9, Why: "three"},
	}}
	var out strings.Builder
	if err := p.Explain(&out); err != nil {
		t.Fatal(err)
	}
	const want = `Policy p: a call that no line below allows kills the process; 32-bit and x32 calls kill it at once.
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
		if err := SPT(SPTGrants{}).Explain(&w); !errors.Is(err, errFull) {
			t.Errorf("after %d writes: error %v, want %v", writes, err, errFull)
		}
	}
}

func TestDisassemble(t *testing.T) {
	p := &Policy{Name: "p", Deny: Trap, Rules: []Rule{
		{Nr: 0, Conds: []Cond{equal(Arg0, 5), atMost(Arg2, 64)}},
		{Nr: 9, Conds: []Cond{masked(Arg3, 0x20, 0x20), equal(IP, 0x1234)}},
		{Nr: 231},
	}}
	const want = `(000) ld       [4]  ; architecture
(001) jeq      #0xc000003e jt 3 jf 2
(002) ret      #0x80000000  ; kill
(003) ld       [0]  ; number of the call
(004) jset     #0x40000000 jt 5 jf 6
(005) ret      #0x80000000  ; kill
(006) jeq      #0x0        jt 7 jf 18
(007) ld       [16]  ; arg0 low
(008) jeq      #0x5        jt 9 jf 17
(009) ld       [20]  ; arg0 high
(010) jeq      #0x0        jt 11 jf 17
(011) ld       [36]  ; arg2 high
(012) jgt      #0x0        jt 17 jf 13
(013) jeq      #0x0        jt 14 jf 16
(014) ld       [32]  ; arg2 low
(015) jgt      #0x40       jt 17 jf 16
(016) ret      #0x7fff0000  ; allow
(017) ret      #0x30000  ; trap
(018) jeq      #0x9        jt 19 jf 31
(019) ld       [40]  ; arg3 low
(020) and      #0x20
(021) jeq      #0x20       jt 22 jf 30
(022) ld       [44]  ; arg3 high
(023) and      #0x0
(024) jeq      #0x0        jt 25 jf 30
(025) ld       [8]  ; ip low
(026) jeq      #0x1234     jt 27 jf 30
(027) ld       [12]  ; ip high
(028) jeq      #0x0        jt 29 jf 30
(029) ret      #0x7fff0000  ; allow
(030) ret      #0x30000  ; trap
(031) jeq      #0xe7       jt 32 jf 33
(032) ret      #0x7fff0000  ; allow
(033) ret      #0x30000  ; trap
`
	if got := Disassemble(mustAssemble(t, p)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestDisassembleNamesEveryInstruction takes a program with far jumps.
func TestDisassembleNamesEveryInstruction(t *testing.T) {
	prog := mustAssemble(t, SPT(SPTGrants{Net: make([]NetGrant, 63)}))
	text := Disassemble(prog)
	if !strings.Contains(text, "ja ") || strings.Contains(text, "unknown") || strings.Count(text, "\n") != len(prog) {
		t.Error(text)
	}
	if text := Disassemble(prog[:0]); text != "" {
		t.Errorf("no program is %q", text)
	}
}

func TestJSON(t *testing.T) {
	p := &Policy{Name: "p", Deny: Trap, Rules: []Rule{{Nr: 1, Why: "print", Conds: []Cond{equal(Arg0, 1), masked(IP, 3, 1)}}}}
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
