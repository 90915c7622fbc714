package compare

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"gocat/internal/peer"
)

// colours are the terminal's, by tone.
var colours = [...]string{good: "32", fair: "33", bad: "31;1"}

const (
	gap       = 2  // between columns of the table
	narrowest = 9  // that a cell is folded to
	textWidth = 96 // of text, where there is room for it
)

// WriteTable writes the report for a terminal of that many columns, 0 for any
// number: cells are folded until the table fits, and if that does not do, the
// tenders come in several tables.
func (rep *Report) WriteTable(w io.Writer, columns int, colour bool) error {
	paint := func(s string, t tone) string {
		if colour {
			return "\x1b[" + colours[t] + "m" + s + "\x1b[0m"
		}
		return s
	}
	var b strings.Builder
	for left := rep.Tenders; len(left) > 0; {
		rows, widths := rep.layout(left, columns)
		writeRows(&b, rows, widths, paint)
		b.WriteString("\n")
		left = left[len(widths)-1:]
	}
	width := textWidth
	if columns > 0 {
		width = min(width, columns)
	}
	b.WriteString(wrap(Legend, width, "") + "\n")
	for _, d := range rep.details() {
		fmt.Fprintf(&b, "%s: %s\n", d.Name(), paint(d.Result, d.tone))
		b.WriteString(wrap(d.Sources, width, "    "))
		for _, more := range []string{d.Numbers, d.Message} {
			if more != "" {
				b.WriteString(wrap(more, width, "    "))
			}
		}
	}
	b.WriteString("\n")
	for _, s := range rep.Sources {
		fmt.Fprintf(&b, "%-12s  %s\n", s.Name, s.Help)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// row is a row of the table: lines by column, the source's first.
type row [][]line

// layout returns the rows, headings first, and the widths of their columns, for
// as many of the tenders as fit next to each other: one at least.
func (rep *Report) layout(tenders []*peer.Tender, columns int) ([]row, []int) {
	for {
		rows := rep.rows(tenders)
		widths := measureRows(rows)
		for most := slices.Max(widths[1:]); columns > 0 && total(widths) > columns && most >= narrowest; most-- {
			rows = rep.rows(tenders)
			for _, r := range rows {
				for i := range r[1:] {
					r[i+1] = fold(r[i+1], most)
				}
			}
			widths = measureRows(rows)
		}
		if columns == 0 || total(widths) <= columns || len(tenders) == 1 {
			return rows, widths
		}
		tenders = tenders[:len(tenders)-1]
	}
}

// rows returns the rows with each line as long as it is.
func (rep *Report) rows(tenders []*peer.Tender) []row {
	heading := row{{{text: "source"}}}
	for _, t := range tenders {
		var lines []line
		for _, text := range rep.headings(t) {
			lines = append(lines, line{text: text})
		}
		heading = append(heading, lines)
	}
	rows := []row{heading}
	for _, s := range rep.Sources {
		r := row{{{text: s.Name}}}
		for _, t := range tenders {
			r = append(r, rep.cell(s, t))
		}
		rows = append(rows, r)
	}
	return rows
}

// measureRows returns the widths of the columns.
func measureRows(rows []row) []int {
	widths := make([]int, len(rows[0]))
	for _, r := range rows {
		for column, lines := range r {
			for _, l := range lines {
				widths[column] = max(widths[column], utf8.RuneCountInString(l.text))
			}
		}
	}
	return widths
}

// total is the width of a table.
func total(widths []int) int {
	n := gap * (len(widths) - 1)
	for _, w := range widths {
		n += w
	}
	return n
}

// fold breaks lines into such of at most most characters, at spaces and after
// hyphens. What has neither stays longer.
func fold(lines []line, most int) (folded []line) {
	for _, l := range lines {
		text := ""
		for word := range strings.FieldsSeq(l.text) {
			for n, part := range strings.SplitAfter(word, "-") {
				space := ""
				if n == 0 && text != "" {
					space = " "
				}
				if text != "" && utf8.RuneCountInString(text+space+part) > most {
					folded = append(folded, line{text, l.tone})
					text, space = "", ""
				}
				text += space + part
			}
		}
		folded = append(folded, line{text, l.tone})
	}
	return folded
}

// writeRows writes a table. The heading and the names of sources have no colour.
func writeRows(b *strings.Builder, rows []row, widths []int, paint func(string, tone) string) {
	for number, r := range rows {
		height := 0
		for _, lines := range r {
			height = max(height, len(lines))
		}
		for n := range height {
			text := ""
			for column, lines := range r {
				l := line{}
				if n < len(lines) {
					l = lines[n]
				}
				padding := strings.Repeat(" ", widths[column]-utf8.RuneCountInString(l.text)+gap)
				if l.text != "" && column > 0 && number > 0 {
					l.text = paint(l.text, l.tone)
				}
				text += l.text + padding
			}
			b.WriteString(strings.TrimRight(text, " ") + "\n")
		}
	}
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
			at = len(indent)
		case at+1+n > width:
			b.WriteString("\n" + indent)
			at = len(indent)
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
