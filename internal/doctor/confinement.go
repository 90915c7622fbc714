package doctor

import (
	"fmt"
	"slices"
	"strings"
)

// seccompActions checks for the actions that guests' filters return.
func (h *Host) seccompActions() Result {
	s, err := h.read("proc/sys/kernel/seccomp/actions_avail")
	if err != nil {
		return Result{Status: Warn, Found: "unknown: " + err.Error(), Means: "guests cannot run without seccomp filters",
			Remedy: "a kernel with CONFIG_SECCOMP_FILTER, with /proc mounted"}
	}
	actions := strings.Fields(s)
	for _, a := range []string{"kill_process", "trap", "allow"} {
		if !slices.Contains(actions, a) {
			return Result{Status: Fail, Found: "no action " + a, Means: "guests cannot be confined", Remedy: "use Linux 5.9 or later"}
		}
	}
	return Result{Found: "filters with kill_process and trap", Means: "guests are confined to their own system calls"}
}

// status returns a field of /proc/self/status, "" if it is not there.
func (h *Host) status(field string) string {
	s, err := h.read("proc/self/status")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(s) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// inheritedFilter says whether gocat runs under somebody else's filter, as in a
// container or a systemd unit, and which of its calls that filter forbids.
func (h *Host) inheritedFilter() Result {
	switch mode := h.status("Seccomp"); mode {
	case "":
		return Result{Status: Warn, Found: "unknown: /proc/self/status does not say"}
	case "0":
		return Result{Found: "none", Means: "no seccomp filter was inherited"}
	}
	r := Result{Found: "a seccomp filter was inherited"}
	if n := h.status("Seccomp_filters"); n != "" && n != "1" {
		r.Found = n + " seccomp filters were inherited"
	}
	r.Remedy = "allow them in the container's or unit's profile (docker run --security-opt seccomp=PROFILE, systemd SystemCallFilter=)"
	out, err := h.Gocat(nil, "doctor", "--probe-calls")
	if err != nil {
		return Result{Status: Warn, Found: r.Found, Means: "and its effect is unknown: " + err.Error()}
	}
	forbidden, last := forbiddenCalls(string(out.Stdout))
	switch {
	case last != "":
		r.Status, r.Means = Fail, "it kills gocat at "+last
	case len(forbidden) > 0:
		r.Status, r.Means = Fail, "it forbids "+strings.Join(forbidden, ", ")
	case out.Status != 0:
		r.Status, r.Means = Fail, fmt.Sprintf("gocat cannot start under it: status %d", out.Status)
	default:
		r.Means, r.Remedy = "it allows all that gocat run calls", ""
	}
	return r
}

func (h *Host) noNewPrivs() Result {
	switch h.status("NoNewPrivs") {
	case "":
		return Result{Found: "unknown: /proc/self/status does not say", Means: "gocat sets it for its guests"}
	case "0":
		return Result{Found: "not set here", Means: "gocat sets it for its guests"}
	}
	return Result{Found: "set already", Means: "guests have it too; gocat needs no privilege to gain"}
}
