package compare

import (
	"fmt"
	"io"
	"strings"
)

// classes are the style sheet's, by tone.
var classes = [...]string{good: "good", fair: "fair", bad: "bad"}

// style makes a table of the wide page, and a list of blocks of the narrow one.
// Nothing is loaded from anywhere.
const style = `
:root { color-scheme: light dark; --text: #1c2330; --page: #fff; --line: #d5dae3; --soft: #f3f5f9; --dim: #566074;
  --good: #0b6b3a; --goodback: #e4f5ea; --fair: #7a5200; --fairback: #fdf3dc; --bad: #a3142a; --badback: #fde7ea; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e8f0; --page: #14181f; --line: #353d4b; --soft: #1d232d; --dim: #a2acbd;
  --good: #7ddca5; --goodback: #12301f; --fair: #f0c76b; --fairback: #332a12; --bad: #ff9aa8; --badback: #3d171d; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 84rem; font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { max-width: 48rem; } .dim { color: var(--dim); }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .45rem .6rem; border: 1px solid var(--line); overflow-wrap: anywhere; }
thead th, td div { overflow-wrap: normal; } thead th { background: var(--soft); } tbody th { font-weight: 600; } tbody th small { display: block; font-weight: 400; color: var(--dim); } .whole { white-space: nowrap; }
td div { border-radius: .25rem; padding: 0 .35rem; margin-bottom: .15rem; width: fit-content; }
.good { color: var(--good); background: var(--goodback); } .fair { color: var(--fair); background: var(--fairback); }
.bad { color: var(--bad); background: var(--badback); font-weight: 600; }
code { font: .85em/1.4 ui-monospace, monospace; }
summary { cursor: pointer; }
@media (max-width: 46rem) {
  table, tbody, tr, th, td { display: block; width: 100%; } thead { display: none; }
  tr { margin-bottom: 1rem; border: 1px solid var(--line); border-radius: .4rem; overflow: hidden; }
  th, td { border: 0; border-top: 1px solid var(--line); } tbody th { background: var(--soft); border-top: 0; }
  td { display: grid; grid-template-columns: 8.5rem 1fr; column-gap: .5rem; } td:empty { display: none; }
  td::before { content: attr(data-label); color: var(--dim); grid-row: span 9; overflow-wrap: anywhere; }
  td > * { grid-column: 2; }
}
`

// page collects HTML.
type page struct{ strings.Builder }

// add appends markup with escaped values.
func (p *page) add(format string, values ...any) {
	// Not with package html: linking it would make every start of gocat slower.
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")
	for i, v := range values {
		values[i] = escape.Replace(fmt.Sprint(v))
	}
	fmt.Fprintf(p, format, values...)
}

// WriteHTML writes the report as one page that needs nothing else.
func (rep *Report) WriteHTML(w io.Writer) error {
	var p page
	p.add("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n" +
		"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n" +
		"<link rel=\"icon\" href=\"data:,\">\n" + // or a browser asks the server for one
		"<title>gocat compare</title>\n<style>")
	p.WriteString(style) // it has percent signs
	p.add("</style>\n</head>\n<body>\n<h1>Where input ends, tender by tender</h1>\n")
	before, after, _ := strings.Cut(Legend, "--eof=auto")
	p.add("<p>A cat, run by each tender on each kind of input. %s<span class=\"whole\">--eof=auto</span>%s</p>\n", before, after)
	p.add("<p class=\"dim\">%s</p>\n", rep.circumstances())
	rep.htmlViolations(&p)
	rep.htmlTable(&p)
	p.add("<h2>What was observed</h2>\n<table>\n<thead><tr><th>Tender</th><th>Result</th><th>Sources</th><th>Measured</th><th>Message</th></tr></thead>\n<tbody>\n")
	for _, d := range rep.details() {
		p.add("<tr><th>%s<small>%s</small></th><td data-label=\"Result\"><div class=\""+classes[d.tone]+"\">%s</div></td><td data-label=\"Sources\"><span>%s</span></td>", d.Tender, d.Policy, d.Result, d.Sources)
		p.optional("Measured", "span", d.Numbers)
		p.optional("Message", "code", d.Message)
		p.add("</tr>\n")
	}
	p.add("</tbody>\n</table>\n<h2>All runs</h2>\n<details><summary>Show all %v</summary>\n<table>\n<thead><tr><th>Source</th><th>Tender</th><th>Guest</th><th>--eof</th><th>Result</th><th>Bytes</th><th>Measured</th></tr></thead>\n<tbody>\n", len(rep.Runs))
	for _, r := range rep.Runs {
		eof := ""
		if r.Tender.IsGocat() {
			eof = r.EOF.String()
		}
		p.add("<tr><th>%s</th><td data-label=\"Tender\"><span>%s</span></td><td data-label=\"Guest\"><span>%s</span></td>", r.Source.Name, r.Tender.Name, r.Guest.Name)
		p.optional("--eof", "span", eof)
		p.add("<td data-label=\"Result\"><div class=\""+classes[r.tone()]+"\">%s</div></td>", r.words())
		p.add("<td data-label=\"Bytes\"><span>%v of %v</span></td>", r.Received, r.Sent)
		p.optional("Measured", "span", numbers([]*Run{r}))
		p.add("</tr>\n")
	}
	p.add("</tbody>\n</table>\n</details>\n</body>\n</html>\n")
	_, err := io.WriteString(w, p.String())
	return err
}

// optional adds a cell that may be empty.
func (p *page) optional(label, element, text string) {
	if text == "" {
		p.add("<td></td>")
		return
	}
	p.add("<td data-label=\"%s\"><"+element+">%s</"+element+"></td>", label, text)
}

// htmlTable adds the table of sources and tenders.
func (rep *Report) htmlTable(p *page) {
	p.add("<table>\n<thead><tr><th>Source</th>")
	for _, t := range rep.Tenders {
		p.add("<th>")
		for n, text := range rep.headings(t) {
			p.add("<div"+map[bool]string{true: ` class="whole"`}[n == 0]+">%s</div>", text)
		}
		p.add("</th>")
	}
	p.add("</tr></thead>\n<tbody>\n")
	for _, s := range rep.Sources {
		p.add("<tr><th>%s<small>%s</small></th>", s.Name, s.Help)
		for _, t := range rep.Tenders {
			label := t.Name
			for _, text := range rep.constants(t) {
				label += " (" + text + ")"
			}
			p.add("<td data-label=\"%s\">", label)
			for _, l := range rep.cell(s, t) {
				p.add("<div class=\""+classes[l.tone]+"\">%s</div>", l.text)
			}
			p.add("</td>")
		}
		p.add("</tr>\n")
	}
	p.add("</tbody>\n</table>\n")
}

// htmlViolations says whether gocat did what it documents.
func (rep *Report) htmlViolations(p *page) {
	var mine []string
	for _, r := range rep.Violations() {
		mine = append(mine, fmt.Sprintf("%v: %s", r, r.Violation))
	}
	judged := 0
	for _, r := range rep.Runs {
		if r.judged() && r.Kind != NotRun {
			judged++
		}
	}
	switch {
	case mine != nil:
		p.add("<p class=\"bad\">gocat did not do what it documents:</p>\n<ul>\n")
		for _, m := range mine {
			p.add("<li>%s</li>\n", m)
		}
		p.add("</ul>\n")
	case judged > 0:
		p.add("<p>gocat did what it documents in each of %v runs.</p>\n", judged)
	}
}
