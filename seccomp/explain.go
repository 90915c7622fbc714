package seccomp

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Explain writes the policy in words: a heading that says what happens to
// everything else, then one rule a line with its reason, grouped by system call
// in the order in which the program looks for them. All conditions of a line
// must hold. Errors are those of w.
func (p *Policy) Explain(w io.Writer) error {
	width := 0
	for i := range p.Rules {
		width = max(width, len(p.Rules[i].String()))
	}
	denied := "kills the process"
	if p.Deny == Trap {
		denied = "is reported and kills the process"
	}
	if _, err := fmt.Fprintf(w, "Policy %s: a call that no line below allows %s; so does any 32-bit or x32 call.\n", p.Name, denied); err != nil {
		return err
	}
	for _, rules := range p.byCall() {
		for _, r := range rules {
			if _, err := fmt.Fprintf(w, "  %-*s  %s\n", width, r, r.Why); err != nil {
				return err
			}
		}
	}
	return nil
}

// String returns the rule as a call with its conditions: "write(fd 2, count <= 64)".
func (r *Rule) String() string {
	name := SyscallName(r.Nr)
	if name == "" {
		name = "syscall " + strconv.Itoa(int(r.Nr))
	}
	params := strings.Fields(parameters(r.Nr))
	conds := make([]string, len(r.Conds))
	for i, c := range r.Conds {
		field := c.Field.String()
		if int(c.Field) < len(params) {
			field = params[c.Field]
		}
		switch value := number(field, c.Value); c.Op {
		case Equal:
			conds[i] = field + " " + value
		case AtMost:
			conds[i] = field + " <= " + value
		case Masked:
			conds[i] = field + " & " + number(field, c.Mask) + " == " + value
		}
	}
	return name + "(" + strings.Join(conds, ", ") + ")"
}

// parameters names the leading parameters of the calls that policies speak of.
func parameters(nr uint32) string {
	switch nr {
	case unix.SYS_READ, unix.SYS_WRITE, unix.SYS_PREAD64, unix.SYS_PWRITE64:
		return "fd buf size offset"
	case unix.SYS_EPOLL_PWAIT:
		return "fd events count timeout sigmask"
	case unix.SYS_TIMERFD_SETTIME:
		return "fd flags new old"
	case unix.SYS_IOCTL:
		return "fd request"
	case unix.SYS_MMAP, unix.SYS_MPROTECT:
		return "addr size prot flags"
	case unix.SYS_RECVFROM, unix.SYS_SENDTO:
		return "fd buf size flags addr"
	case unix.SYS_POLL:
		return "fds count timeout"
	case unix.SYS_CLOCK_GETTIME:
		return "clock"
	case unix.SYS_ARCH_PRCTL, unix.SYS_PRCTL:
		return "option"
	case unix.SYS_CLONE:
		return "flags"
	case unix.SYS_TGKILL:
		return "pid"
	}
	return ""
}

// number writes counts in decimal and everything else as users of strace know it.
func number(field string, v uint64) string {
	switch field {
	case "fd", "size", "offset", "count", "pid":
		return strconv.FormatUint(v, 10)
	}
	if v < 10 {
		return strconv.FormatUint(v, 10)
	}
	return "0x" + strconv.FormatUint(v, 16)
}

// String returns "arg0" to "arg5" or "ip".
func (f Field) String() string {
	if f == IP {
		return "ip"
	}
	return "arg" + strconv.Itoa(int(f))
}

// String returns "equal", "at-most" or "masked".
func (o Op) String() string {
	switch o {
	case Equal:
		return "equal"
	case AtMost:
		return "at-most"
	case Masked:
		return "masked"
	}
	return "op" + strconv.Itoa(int(o))
}

// String returns "kill", "trap", "allow" or "fail", and the number of any other action.
func (a Action) String() string {
	switch a {
	case Kill:
		return "kill"
	case Trap:
		return "trap"
	case Allow:
		return "allow"
	case fail | Action(Holds):
		return "fail"
	}
	return "0x" + strconv.FormatUint(uint64(a), 16)
}

// MarshalText returns String, so that a policy encodes readably as JSON.
func (f Field) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// MarshalText returns String, so that a policy encodes readably as JSON.
func (o Op) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// MarshalText returns String, so that a policy encodes readably as JSON.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }
