package symbols

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
)

// Filter copies r to w, with the place after each address in it that is written
// 0x and digits, unless one follows already.
func (t *Table) Filter(w io.Writer, r io.Reader) error {
	in, out := bufio.NewReaderSize(r, 64<<10), bufio.NewWriter(w)
	for {
		line, err := in.ReadSlice('\n') // a longer line comes in parts
		out.Write(t.named(line))
		if in.Buffered() == 0 || err != nil { // lines of a log appear as soon as they are written
			if err := out.Flush(); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

// named returns a line with the places of its addresses.
func (t *Table) named(line []byte) (all []byte) {
	for {
		start := bytes.Index(line, []byte("0x"))
		if start < 0 {
			return append(all, line...)
		}
		end := start + 2
		for end < len(line) && bytes.IndexByte([]byte("0123456789abcdefABCDEF"), line[end]) >= 0 {
			end++
		}
		word, before, rest := line[start+2:end], line[:start], line[end:]
		all = append(all, line[:end]...)
		line = rest
		addr, err := strconv.ParseUint(string(word), 16, 64)
		if err != nil || len(before) > 0 && isWord(before[len(before)-1]) || len(rest) > 0 && isWord(rest[0]) {
			continue
		}
		if p, ok := t.At(addr); ok {
			if function := " in " + p.Function + "+0x" + strconv.FormatUint(p.Offset, 16); bytes.HasPrefix(rest, []byte(function)) {
				all, line = append(all, function...), rest[len(function):]
				if p.File != "" {
					all = append(all, " ("+p.File+":"+strconv.Itoa(p.Line)+")"...)
				}
				continue
			}
			all = append(all, " ("+p.String()+")"...)
		}
	}
}

// isWord reports whether c continues a word: then what looks like an address is a
// part of something else, such as an offset after a function's name.
func isWord(c byte) bool {
	return c == '_' || c == '+' || c == '.' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
