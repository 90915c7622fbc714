package seccomp

import (
	"bytes"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"

	elastic "github.com/elastic/go-seccomp-bpf"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// What to do when a test below fails because go-seccomp-bpf changed.
const (
	fixed = "go-seccomp-bpf no longer has this defect: say so in docs/upstream-go-seccomp-bpf.md, " +
		"drop this test, and when both are mended let elasticProgram assemble whole policies at once"
	changed = "this is not the defect that we know: find out what go-seccomp-bpf does now, and mend " +
		"docs/upstream-go-seccomp-bpf.md and this test"
)

// TestUpstreamVersion asks for a look at the defect report when another version
// of go-seccomp-bpf is linked, whatever the tests below find in it.
func TestUpstreamVersion(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	linked := regexp.MustCompile(`(?m)^\s*(?:require )?github\.com/elastic/go-seccomp-bpf v(\S+)`).FindSubmatch(mod)
	if linked == nil || bytes.Contains(mod, []byte("replace")) {
		t.Fatal("go.mod does not say which go-seccomp-bpf is linked")
	}
	text, err := os.ReadFile("../docs/upstream-go-seccomp-bpf.md")
	if err != nil {
		t.Fatal(err)
	}
	title, _, _ := strings.Cut(string(text), "\n")
	if !strings.Contains(title, " "+string(linked[1])+":") {
		t.Errorf("go-seccomp-bpf %s is linked, and docs/upstream-go-seccomp-bpf.md is about another one (%q): "+
			"see which defects it still has, and put its version there and in docs/design.md", linked[1], title)
	}
}

// elasticVM assembles a policy with go-seccomp-bpf.
func elasticVM(t *testing.T, p elastic.Policy) *bpf.VM {
	t.Helper()
	prog, err := p.Assemble()
	if err != nil {
		t.Fatalf("go-seccomp-bpf refuses the policy: %v. %s", err, fixed)
	}
	vm, err := bpf.NewVM(prog)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

func elasticRule(name string, conds ...elastic.Condition) elastic.NameWithConditions {
	return elastic.NameWithConditions{Name: name, Conditions: conds}
}

func elasticAllow(rules ...elastic.NameWithConditions) elastic.Policy {
	return elastic.Policy{
		DefaultAction: elastic.ActionKillProcess,
		Syscalls:      []elastic.SyscallGroup{{Action: elastic.ActionAllow, NamesWithCondtions: rules}},
	}
}

// TestUpstreamComparesArgumentsWithNumbers keeps the reason why gocat has an
// assembler of its own: a policy that allows reading descriptor 63, and exiting,
// also allows reading descriptor 5 (the kernel ignores a descriptor's high half).
func TestUpstreamComparesArgumentsWithNumbers(t *testing.T) {
	p := elasticAllow(elasticRule("read", elastic.Condition{Argument: 0, Operation: elastic.Equal, Value: 63}))
	p.Syscalls = append(p.Syscalls, elastic.SyscallGroup{Action: elastic.ActionAllow, Names: []string{"exit_group"}})
	vm := elasticVM(t, p)
	if got := runVM(t, vm, call(unix.SYS_READ, 5)); got != Kill {
		t.Errorf("read of descriptor 5: %v, want kill: %s", got, changed)
	}
	if got := runVM(t, vm, call(unix.SYS_READ, unix.SYS_EXIT_GROUP<<32|5)); got != Allow {
		t.Errorf("read of descriptor exit_group<<32|5: %v. %s", got, fixed)
	}
	ours := &Policy{Name: "ours", Deny: Kill}
	ours.Allow(unix.SYS_READ, "read", FD(63))
	ours.Allow(unix.SYS_EXIT_GROUP, "exit")
	if got := runVM(t, newVM(t, mustAssemble(t, ours)), call(unix.SYS_READ, unix.SYS_EXIT_GROUP<<32|5)); got != Kill {
		t.Errorf("our own program: %v, want kill", got)
	}
}

// TestUpstreamMisplacesLongJumps keeps the other reason: a policy that allows
// blocks of 21 devices allows writing anything anywhere, because a jump of more
// than 255 instructions goes one short and compares the number with an offset.
func TestUpstreamMisplacesLongJumps(t *testing.T) {
	program := func(devices uint64) *bpf.VM {
		var rules []elastic.NameWithConditions
		for _, name := range []string{"pread64", "pwrite64"} {
			for dev := range devices {
				rules = append(rules, elasticRule(name,
					elastic.Condition{Argument: 0, Operation: elastic.Equal, Value: 100 + dev},
					elastic.Condition{Argument: 2, Operation: elastic.Equal, Value: 512},
					elastic.Condition{Argument: 3, Operation: elastic.LessOrEqual, Value: 1 << 20}))
			}
		}
		return elasticVM(t, elasticAllow(rules...))
	}
	ungranted := call(unix.SYS_PWRITE64, 5, 0, 6, 1<<60)
	if got := runVM(t, program(20), ungranted); got != Kill {
		t.Errorf("write to descriptor 5 beside 20 devices: %v, want kill: %s", got, changed)
	}
	if got := runVM(t, program(21), ungranted); got != Allow {
		t.Errorf("write to descriptor 5 beside 21 devices: %v. %s", got, fixed)
	}
}

// elasticProgram assembles a policy with go-seccomp-bpf in a way that avoids
// both defects: every rule as a policy of its own, stripped of the checks in
// front and the default action after them, and given a fresh load of the
// number. Conditions on the instruction pointer it cannot express.
func elasticProgram(t testing.TB, p *Policy) []bpf.Instruction {
	t.Helper()
	const prologue = 5 // load and check of the architecture, load of the number, check for x32
	prog := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AUDIT_ARCH_X86_64, SkipTrue: 1},
		bpf.RetConstant{Val: uint32(p.Deny)},
		bpf.LoadAbsolute{Off: offNr, Size: 4},
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		alone := elasticAllow()
		if name := SyscallName(r.Nr); len(r.Conds) == 0 {
			alone.Syscalls[0].Names = []string{name}
		} else {
			alone.Syscalls[0].NamesWithCondtions = []elastic.NameWithConditions{{Name: name, Conditions: elasticConditions(t, r)}}
		}
		code, err := alone.Assemble()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := code[prologue-3].(bpf.LoadAbsolute); !ok || len(code) < prologue+3 {
			t.Fatalf("go-seccomp-bpf begins its programs in another way: %v: mend elasticProgram", code)
		}
		prog = append(prog, bpf.LoadAbsolute{Off: offNr, Size: 4})
		prog = append(prog, code[prologue:len(code)-1]...)
	}
	return append(prog, bpf.RetConstant{Val: uint32(p.Deny)})
}

func elasticConditions(t testing.TB, r *Rule) elastic.ArgumentConditions {
	t.Helper()
	var conds elastic.ArgumentConditions
	for _, c := range r.Conds {
		add := func(op elastic.Operation, v uint64) {
			conds = append(conds, elastic.Condition{Argument: uint32(c.Field), Operation: op, Value: v})
		}
		switch {
		case c.Field == IP:
			t.Fatalf("rule %v: go-seccomp-bpf knows no instruction pointer", r)
		case c.Op == Equal:
			add(elastic.Equal, c.Value)
		case c.Op == AtMost:
			add(elastic.LessOrEqual, c.Value)
		case c.Op == Masked:
			for bit := uint64(1); bit != 0; bit <<= 1 {
				if c.Mask&c.Value&bit != 0 {
					add(elastic.BitsSet, bit)
				} else if c.Mask&bit != 0 {
					add(elastic.BitsNotSet, bit)
				}
			}
		}
	}
	return conds
}

// TestUpstreamAgrees compares our programs with those of go-seccomp-bpf, rule by
// rule, for all policies without a fault reporter.
func TestUpstreamAgrees(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, p := range testPolicies() {
		if p.Deny == Trap {
			continue
		}
		theirs, err := bpf.NewVM(elasticProgram(t, p))
		if err != nil {
			t.Fatal(err)
		}
		ours := newVM(t, mustAssemble(t, p))
		for range 10_000 {
			c := randomCall(rnd, p)
			if got, want := runVM(t, ours, c), runVM(t, theirs, c); got != want {
				t.Fatalf("policy %s: our program returns %v, go-seccomp-bpf's %v: %v", p.Name, got, want, c)
			}
		}
	}
}
