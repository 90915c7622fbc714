package compare

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Legend explains the words of the table.
const Legend = "A cell is for all guests and for --eof=auto; single guests and other policies (zero, again) follow where they differ. " +
	"\"ends\": all bytes came, and the guest exited with 0 at the end of its input. \"waits\": all bytes came, and it sleeps until there are more. " +
	"\"hangs\": it sleeps although the input has ended. \"spins\": it uses a processor and brings nothing out. " +
	"\"refused\": the tender did not start it."

// colours are the terminal's, by tone.
var colours = [...]string{good: "32", fair: "33", bad: "31;1"}

// WriteTable writes the report for a terminal.
func (rep *Report) WriteTable(w io.Writer, colour bool) error {
	paint := func(s string, t tone) string {
		if colour {
			return "\x1b[" + colours[t] + "m" + s + "\x1b[0m"
		}
		return s
	}
	cells, widths := rep.layout()
	var b strings.Builder
	for _, row := range cells {
		height := 0
		for _, lines := range row {
			height = max(height, len(lines))
		}
		for n := range height {
			text := ""
			for column, lines := range row {
				l := line{}
				if n < len(lines) {
					l = lines[n]
				}
				padding := strings.Repeat(" ", widths[column]-utf8.RuneCountInString(l.text))
				if l.text != "" && column > 0 && &row[0] != &cells[0][0] {
					l.text = paint(l.text, l.tone)
				}
				text += l.text + padding + "  "
			}
			b.WriteString(strings.TrimRight(text, " ") + "\n")
		}
	}
	b.WriteString("\n" + wrap(Legend, 100, "") + "\n")
	for _, d := range rep.details() {
		fmt.Fprintf(&b, "%s: %s\n", d.Name(), paint(d.Result, d.tone))
		b.WriteString(wrap(d.Sources, 96, "    "))
		for _, more := range []string{d.Numbers, d.Message} {
			if more != "" {
				b.WriteString(wrap(more, 96, "    "))
			}
		}
	}
	for _, s := range rep.Sources {
		fmt.Fprintf(&b, "%s%-12s  %s", map[bool]string{true: "\n"}[s == rep.Sources[0]], s.Name, s.Help+"\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// layout returns all cells, headings included, and the widths of the columns.
func (rep *Report) layout() (cells [][][]line, widths []int) {
	heading := [][]line{{{text: "source"}}}
	for _, t := range rep.Tenders {
		var lines []line
		for _, text := range rep.headings(t) {
			lines = append(lines, line{text: text})
		}
		heading = append(heading, lines)
	}
	cells = append(cells, heading)
	for _, s := range rep.Sources {
		row := [][]line{{{text: s.Name}}}
		for _, t := range rep.Tenders {
			row = append(row, rep.cell(s, t))
		}
		cells = append(cells, row)
	}
	widths = make([]int, len(heading))
	for _, row := range cells {
		for column, lines := range row {
			for _, l := range lines {
				widths[column] = max(widths[column], utf8.RuneCountInString(l.text))
			}
		}
	}
	return cells, widths
}

// wrap breaks text into lines of at most width characters, each indented.
func wrap(text string, width int, indent string) string {
	var b strings.Builder
	at := 0
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case at == 0:
			b.WriteString(indent)
		case at+1+n > width:
			b.WriteString("\n" + indent)
			at = 0
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += n
	}
	b.WriteByte('\n')
	return b.String()
}

// WriteMarkdown writes the table, and what is to be said of it, in GitHub's
// Markdown.
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
	b.WriteString("\n" + Legend + "\n\n")
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
		Kernel  string    `json:"kernel"`
		Sources []*Source `json:"sources"`
		Tenders []tender  `json:"tenders"`
		Runs    []runJSON `json:"runs"`
	}{Kernel: rep.Kernel, Sources: rep.Sources}
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
