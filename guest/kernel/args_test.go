package kernel

import (
	"reflect"
	"strings"
	"testing"

	"gocat/internal/tender"
)

// started is what the first thread finds on its stack.
type started struct {
	args, env []string
	random    [2]uint64
	pageSize  uint64
}

func stackOf(t *testing.T) (s started) {
	t.Helper()
	sp := uintptr(threads[0].rsp)
	if sp%16 != 0 {
		t.Errorf("stack pointer %#x", sp)
	}
	next := func() uint64 { sp += 8; return load64(sp - 8) }
	list := func() (l []string) {
		for p := next(); p != 0; p = next() {
			n := uintptr(0)
			for load8(uintptr(p)+n) != 0 {
				n++
			}
			l = append(l, string(bytes(uintptr(p), n)))
		}
		return l
	}
	argc := next()
	s.args, s.env = list(), list()
	if int(argc) != len(s.args) {
		t.Errorf("argc %d, and %d arguments", argc, len(s.args))
	}
	for k := next(); k != 0; k = next() {
		v := next()
		switch k {
		case auxPageSize:
			s.pageSize = v
		case auxRandom:
			s.random = [2]uint64{load64(uintptr(v)), load64(uintptr(v) + 8)}
		}
	}
	return s
}

func TestArguments(t *testing.T) {
	for _, c := range []struct {
		line      string
		args, env []string
	}{
		{"", nil, nil},
		{"  a  bb\tc\n", []string{"a", "bb", "c"}, nil},
		{`"a b" 'c "d' e\ f "g\"h\\i\j" ''x ""`, []string{"a b", `c "d`, "e f", `g"h\i\j`, "x", ""}, nil},
		{`"unterminated a`, []string{"unterminated a"}, nil},
		{`end\`, []string{`end\`}, nil},
		{"--solo5:quiet --env:GODEBUG=x=1 -l netif:quiet", []string{"-l", "netif:quiet"}, []string{"SOLO5=quiet", "GODEBUG=x=1"}},
		{"a --solo5:quiet", []string{"a", "--solo5:quiet"}, nil},
		{`"--env:A=b c" d`, []string{"d"}, []string{"A=b c"}},
		{"--ipv4=10.0.0.2/24 --env:A=b --nameserver=10.0.0.1 d --ipv4=x", []string{"d", "--ipv4=x"}, []string{"A=b"}},
		{"--env:A=b -- --ipv4=x -- y", []string{"--ipv4=x", "--", "y"}, []string{"A=b"}},
		{"--ipv4x=1", []string{"--ipv4x=1"}, nil},
		{strings.Repeat("x ", 4095), strings.Fields(strings.Repeat("x ", 4095)), nil},
		{strings.Repeat("y", 8191), []string{strings.Repeat("y", 8191)}, nil},
	} {
		boot(t, targetSPT, c.line)
		s := stackOf(t)
		if want := append([]string{"unikernel"}, c.args...); !reflect.DeepEqual(s.args, want) {
			t.Errorf("%.50q: arguments %.200q", c.line, s.args)
		}
		if n := len(c.env); len(s.env) != n+3 || s.env[n] != "HOME=/root" || s.env[n+1] != "USER=root" || n > 0 && !reflect.DeepEqual(s.env[:n], c.env) || !strings.HasPrefix(s.env[n+2], "GOMEMLIMIT=") {
			t.Errorf("%.50q: environment %q", c.line, s.env)
		}
		if s.pageSize != pageSize || s.random[0] == 0 {
			t.Errorf("%.50q: %+v", c.line, s)
		}
	}
}

// What gocat run --quote writes is read back as it was.
func FuzzQuotedArguments(f *testing.F) {
	f.Add("a b", `\"'`, "")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		args := []string{a, b, c}
		inv := &tender.Invocation{Options: &tender.Options{}, Args: args}
		inv.Quote = true
		line := "-- " + inv.CommandLine()
		if strings.Contains(line, "\x00") || len(line) >= maxCmdline {
			return
		}
		boot(t, targetHVT, line)
		if s := stackOf(t); !reflect.DeepEqual(s.args[1:], args) {
			t.Errorf("%q came back as %q from %q", args, s.args[1:], line)
		}
	})
}

func TestRandom(t *testing.T) {
	both(t, func(t *testing.T, w *host) {
		p := buffer(t, 64)
		if got := result(sysGetrandom, uint64(p), 13, 0); got != 13 || load64(p) != 0x0123456789abcdef || load64(p+8) != 0x6789abcdef {
			t.Errorf("getrandom: %d, %#x %#x", got, load64(p), load64(p+8))
		}
		w.random = false
		findRandom()
		if got := result(sysGetrandom, uint64(p), 13, 0); got != errNOSYS {
			t.Errorf("getrandom without RDRAND: %d", got)
		}
	})
}
