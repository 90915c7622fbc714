package compare

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"gocat/internal/device"
	"gocat/internal/peer"
)

// tone is how good a result is, for colours.
type tone uint8

const (
	good tone = iota // all of the input, and its end taken for one
	fair             // refused, not run, or bad because the user asked for it
	bad
)

// line is a line of a cell.
type line struct {
	text string
	tone tone
}

// cell is what the tender made of the source: a line for the first EOF policy,
// and one for each other under which something else happened.
func (rep *Report) cell(s *Source, t *peer.Tender) []line {
	var lines []line
	for _, runs := range rep.policies(s, t) {
		l := policyLine(runs)
		switch {
		case len(lines) == 0 && runs[0].EOF != device.EOFAuto && t.IsGocat():
			l.text = runs[0].EOF.String() + ": " + l.text
		case len(lines) == 0:
		case l.text == policyLine(rep.policies(s, t)[0]).text || rep.always(t, runs[0].EOF) != "":
			continue
		default:
			l.text = runs[0].EOF.String() + ": " + l.text
		}
		lines = append(lines, l)
	}
	return lines
}

// policyLine is the line of runs that differ in their guest alone.
func policyLine(runs []*Run) line {
	l := line{text: inWords(runs)}
	for _, r := range runs {
		l.tone = max(l.tone, r.tone())
	}
	return l
}

// always returns what happened with a tender on every source under a policy that
// is not the first, "" if that was not always the same, or what happened under
// the first too. The heading tells it once, instead of every cell.
func (rep *Report) always(t *peer.Tender, eof device.EOF) string {
	words, differs := "", false
	for _, s := range rep.Sources {
		groups := rep.policies(s, t)
		at := slices.IndexFunc(groups, func(runs []*Run) bool { return runs[0].EOF == eof })
		if at < 1 {
			return ""
		}
		now := inWords(groups[at])
		if words != "" && now != words {
			return ""
		}
		words, differs = now, differs || now != inWords(groups[0])
	}
	if len(rep.Sources) < 2 || !differs {
		return ""
	}
	return words
}

// headings are the lines of a tender's heading: its name, its version, and under
// which policies the same happened on every source.
func (rep *Report) headings(t *peer.Tender) []string {
	lines := []string{t.Name}
	if kind, version, ok := strings.Cut(t.Name, " "); ok && !t.IsGocat() {
		lines = []string{kind, version}
	}
	return append(lines, rep.constants(t)...)
}

// constants are the policies under which the same happened on every source, with
// what it was.
func (rep *Report) constants(t *peer.Tender) (lines []string) {
	for _, runs := range rep.policies(rep.Sources[0], t) {
		if words := rep.always(t, runs[0].EOF); words != "" {
			lines = append(lines, runs[0].EOF.String()+": "+words)
		}
	}
	return lines
}

// policies returns the runs of a cell, one slice an EOF policy.
func (rep *Report) policies(s *Source, t *peer.Tender) (groups [][]*Run) {
	for _, r := range rep.Runs {
		if r.Source != s || r.Tender != t {
			continue
		}
		at := slices.IndexFunc(groups, func(g []*Run) bool { return g[0].EOF == r.EOF })
		if at < 0 {
			at, groups = len(groups), append(groups, nil)
		}
		groups[at] = append(groups[at], r)
	}
	return groups
}

// inWords says what happened in runs that differ in their guest alone.
func inWords(runs []*Run) string {
	built := slices.DeleteFunc(slices.Clone(runs), func(r *Run) bool { return !r.Guest.runsOn(r.Tender) })
	if len(built) > 0 {
		runs = built
	}
	var words []string
	same := true
	for _, r := range runs {
		same = same && r.words() == runs[0].words()
		words = append(words, r.Guest.Name+" "+r.words())
	}
	if same {
		return runs[0].words()
	}
	return strings.Join(words, "; ")
}

func (r *Run) tone() tone {
	switch {
	case r.Violation != "":
		return bad
	case r.clean():
		return good
	case r.Kind == Refused || r.Kind == NotRun || r.judged():
		return fair
	}
	return bad
}

// Detail is what to say of runs that ended alike.
type Detail struct {
	Tender  string
	Policy  string // --eof=auto and so on; "" for peers
	Result  string // in words
	Sources string
	Numbers string // what was measured, "" if nothing was
	Message string // the tender's own, or why there was no run
	tone    tone
}

// details groups the runs by tender, policy, result and message.
func (rep *Report) details() []Detail {
	type key struct {
		tender  *peer.Tender
		eof     string
		result  string
		message string
	}
	groups := map[key][]*Run{}
	var order []key
	for _, t := range rep.Tenders {
		for _, r := range rep.Runs {
			if r.Tender != t {
				continue
			}
			k := key{t, "", r.words(), r.Message}
			if t.IsGocat() {
				k.eof = "--eof=" + r.EOF.String()
			}
			if groups[k] == nil {
				order = append(order, k)
			}
			groups[k] = append(groups[k], r)
		}
	}
	// One tender after the other, and of each one policy after the other.
	slices.SortStableFunc(order, func(a, b key) int {
		if a.tender != b.tender {
			return slices.Index(rep.Tenders, a.tender) - slices.Index(rep.Tenders, b.tender)
		}
		return slices.Index(eofs, a.eof) - slices.Index(eofs, b.eof)
	})
	var details []Detail
	for _, k := range order {
		runs := groups[k]
		details = append(details, Detail{
			Tender: k.tender.Name, Policy: k.eof, Result: k.result, Sources: rep.sources(runs),
			Numbers: numbers(runs), Message: k.message, tone: runs[0].tone(),
		})
	}
	return details
}

// eofs orders the policies.
var eofs = []string{"", "--eof=auto", "--eof=zero", "--eof=again"}

// sources lists where the runs had their input, with the guest where it was not
// the same for all guests.
func (rep *Report) sources(runs []*Run) string {
	guests := map[*Guest]bool{}
	for _, r := range rep.Runs {
		guests[r.Guest] = true
	}
	var list []string
	for _, s := range rep.Sources {
		var names []string
		for _, r := range runs {
			if r.Source == s {
				names = append(names, r.Guest.Name)
			}
		}
		switch {
		case len(names) == len(guests):
			list = append(list, s.Name)
		case names != nil:
			list = append(list, s.Name+" ("+strings.Join(names, ", ")+")")
		}
	}
	return strings.Join(list, ", ")
}

// numbers says what was measured.
func numbers(runs []*Run) string {
	var after []time.Duration
	var cpu, reads []float64
	for _, r := range runs {
		switch r.Kind {
		case Ends, Died:
			after = append(after, r.After)
		case Spins, Stopped:
			cpu = append(cpu, 100*r.CPU)
			if r.Reads > 0 {
				reads = append(reads, r.Reads)
			}
		case Hangs, Waits:
			cpu = append(cpu, 100*r.CPU)
		}
	}
	var said []string
	if after != nil {
		from, to := slices.Min(after).Seconds()*1000, slices.Max(after).Seconds()*1000
		text := span(from, to) + " ms"
		if len(after) > 2 && round(from) != round(to) {
			slices.Sort(after)
			text += ", in the median " + round(after[len(after)/2].Seconds()*1000) + ","
		}
		said = append(said, text+" after the end of the input")
	}
	if cpu != nil {
		said = append(said, span(slices.Min(cpu), slices.Max(cpu))+" % CPU")
	}
	if reads != nil {
		said = append(said, span(slices.Min(reads), slices.Max(reads))+" reads a second")
	}
	return strings.Join(said, ", ")
}

// span is a range of numbers.
func span(from, to float64) string {
	a, b := round(from), round(to)
	if a == b {
		return a
	}
	return a + " to " + b
}

// round leaves two or three digits that say something.
func round(x float64) string {
	switch {
	case x >= 10000:
		return fmt.Sprintf("%.0f,%03d", float64(int(x)/1000), int(x)/100%10*100)
	case x >= 10:
		return fmt.Sprintf("%.0f", x)
	case x < 0.05:
		return "0"
	}
	return fmt.Sprintf("%.1f", x)
}

// Name is the tender with the policy.
func (d *Detail) Name() string { return strings.TrimSpace(d.Tender + " " + d.Policy) }
