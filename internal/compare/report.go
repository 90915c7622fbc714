package compare

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// Legend explains the words of the table.
const Legend = "A cell is for all guests and for --eof=auto; single guests and other policies (zero, again) follow where they differ. " +
	"\"ends\": all bytes came, and the guest exited with 0 at the end of its input. \"waits\": all bytes came, and it sleeps until there are more. " +
	"\"hangs\": it sleeps although the input has ended. \"spins\": it uses a processor and brings nothing out. " +
	"\"refused\": the tender did not start it."

// circumstances are what the observations are of.
func (rep *Report) circumstances() string {
	return fmt.Sprintf("%d runs on Linux %s, %s. %s. %s.", len(rep.Runs), rep.Kernel, rep.Began.UTC().Format(time.DateTime+" UTC"), rep.KVM, rep.Gocat)
}

// WriteMarkdown writes the table and the remarks on it in GitHub's Markdown.
func (rep *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString("| source |")
	for _, t := range rep.Tenders {
		b.WriteString(" " + escapeMarkdown(strings.Join(rep.headings(t), "\n")) + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(rep.Tenders)) + "\n")
	for _, s := range rep.Sources {
		b.WriteString("| " + s.Help + " |")
		for _, t := range rep.Tenders {
			var words []string
			for _, l := range rep.cell(s, t) {
				text := escapeMarkdown(l.text)
				if l.tone == bad {
					text = "**" + text + "**"
				}
				words = append(words, text)
			}
			b.WriteString(" " + strings.Join(words, "<br>") + " |")
		}
		b.WriteString("\n")
	}
	b.WriteString("\n" + Legend + "\n\n" + escapeMarkdown(rep.circumstances()) + "\n\n")
	for _, d := range rep.details() {
		fmt.Fprintf(&b, "- %s: **%s**: %s.", escapeMarkdown(d.Name()), escapeMarkdown(d.Result), escapeMarkdown(d.Sources))
		if d.Numbers != "" {
			b.WriteString(" " + d.Numbers + ".")
		}
		if d.Message != "" {
			b.WriteString(" `" + strings.ReplaceAll(d.Message, "`", "'") + "`")
		}
		b.WriteString("\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// escapeMarkdown takes the meaning from what Markdown and its tables would see
// in a name.
func escapeMarkdown(s string) string {
	return strings.NewReplacer("|", `\|`, "*", `\*`, "_", `\_`, "`", "\\`", "<", "&lt;", "[", `\[`, "\n", "<br>").Replace(s)
}

// runJSON is a run as JSON.
type runJSON struct {
	Source string `json:"source"`
	Tender string `json:"tender"`
	Guest  string `json:"guest"`
	EOF    string `json:"eof,omitempty"`
	Words  string `json:"words"`
	*Run
}

// WriteJSON writes all that was observed.
func (rep *Report) WriteJSON(w io.Writer) error {
	type tender struct {
		Name    string `json:"name"`
		Kind    string `json:"kind"`
		Version string `json:"version,omitempty"`
		ABI     uint32 `json:"abi"`
		Path    string `json:"path"`
	}
	all := struct {
		Gocat   string    `json:"gocat"`
		Began   time.Time `json:"began"`
		Kernel  string    `json:"kernel"`
		KVM     string    `json:"kvm"`
		Sources []*Source `json:"sources"`
		Tenders []tender  `json:"tenders"`
		Runs    []runJSON `json:"runs"`
	}{Gocat: rep.Gocat, Began: rep.Began, Kernel: rep.Kernel, KVM: rep.KVM, Sources: rep.Sources}
	for _, t := range rep.Tenders {
		all.Tenders = append(all.Tenders, tender{t.Name, t.Kind, t.Version, t.ABI, t.Path})
	}
	for _, r := range rep.Runs {
		j := runJSON{Source: r.Source.Name, Tender: r.Tender.Name, Guest: r.Guest.Name, Words: r.words(), Run: r}
		if r.Tender.IsGocat() {
			j.EOF = r.EOF.String()
		}
		all.Runs = append(all.Runs, j)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(all)
}
