package doctor

import (
	"strings"

	"gocat/internal/isolate"
)

// isolation runs a guest with all layers, and where that fails one for each, to
// say which cannot be had and why.
func (h *Host) isolation() Result {
	const remedy = "see docs/isolation.md; --isolate=auto does without them"
	if why := h.try("--isolate=full"); why == "" {
		return Result{Found: "every layer of --isolate=full", Means: "guests can be held apart from all of the host"}
	}
	full := isolate.Config{Mode: isolate.Full}
	missing := h.missing(full.Wanted().Layers())
	if missing == nil {
		return Result{Status: Warn, Found: "each layer, but not all together", Means: h.try("--isolate=full")}
	}
	return Result{Status: Warn, Found: "not every layer of --isolate=full", Means: strings.Join(missing, "; "), Remedy: remedy}
}

// speculation says which of the processor's controls a process has.
func (h *Host) speculation() Result {
	missing := h.missing([]isolate.Layer{isolate.StoreBypass, isolate.IndirectBranch})
	if missing == nil {
		return Result{Found: "a process can turn it off", Means: "--require=store-bypass,indirect-branch holds"}
	}
	return Result{Found: "not under a process's control", Means: strings.Join(missing, "; ")}
}

// missing lists those of the layers that a guest cannot have, with the reason.
func (h *Host) missing(layers []isolate.Layer) (lines []string) {
	for _, l := range layers {
		if why := h.try("--isolate=none", "--require="+l.String()); why != "" {
			lines = append(lines, why)
		}
	}
	return lines
}

// try runs the bundled cat on nothing and returns why it could not, or "".
func (h *Host) try(args ...string) string {
	out, err := h.Gocat(nil, append([]string{"run", "--backend=spt"}, args...)...)
	if err != nil {
		return err.Error()
	}
	if out.Status == 0 {
		return ""
	}
	line, _, _ := strings.Cut(string(out.Stderr), "\n")
	_, why, _ := strings.Cut(strings.TrimPrefix(line, "gocat: "), ": ")
	return why
}
