package plan

import (
	"encoding/binary"
	"fmt"
	"strings"

	"gocat/internal/raw"
)

// Entry is the state in which the stub enters the guest. DI is its boot info.
type Entry struct{ IP, SP, DI uint64 }

// Cmdline is a command line that the stub appends its own arguments to.
type Cmdline struct {
	Addr   uint64 // in memory
	Len    uint64 // bytes, without the NUL
	MaxLen uint64 // bytes
	// Refuse is the message for any argument, if the guest must not get arguments;
	// "" if it may.
	Refuse string
}

// link returns the plan as the stub reads it at Base, head then data, ending in
// the entry of the guest.
func (p *Plan) link(e Entry, c Cmdline) (head, data []byte) {
	tooLong := raw.Concat("gocat: the guest's command line is longer than ", raw.Decimal(c.MaxLen), " bytes\n")
	if c.Refuse != "" {
		c.Len, c.MaxLen = 1, 0 // a leading space is one byte too many
		tooLong = raw.Concat("gocat: ", c.Refuse, "\n")
	}
	tooLongAt := p.store(Words(uint64(len(tooLong))))
	p.text(tooLong)
	const privileged = "gocat: this program is set-user-ID or set-group-ID: a guest does not start with privileges that execve gave\n"
	privilegedAt := p.store(Words(uint64(len(privileged))))
	p.text(privileged)
	errors := p.errors()
	p.add(record{nr: enter}, []any{e.IP, e.SP, e.DI, uint64(Base), 0})
	base := uint64(Base + planHeader + recordSize*len(p.records))
	for _, r := range p.refs {
		p.records[r.record].args[r.arg] = base + r.offset
	}
	for _, r := range p.pointers {
		binary.LittleEndian.PutUint64(p.data[r[0]:], base+r[1])
	}
	head = raw.Slice[byte](0, planHeader+recordSize*len(p.records))
	put := func(w ...uint64) {
		for _, w := range w {
			head = binary.LittleEndian.AppendUint64(head, w)
		}
	}
	put(c.Addr+c.Len, c.Addr+c.MaxLen, base+tooLongAt, min(c.Len, 1)|uint64(p.Status)<<8, base+errors, base+privilegedAt)
	for i := range p.records {
		r := &p.records[i]
		outcome := uint64(r.skip) << 32
		if r.message != "" {
			outcome = base + uint64(len(p.data))
			text, rest, _ := strings.Cut(r.message, "\n")
			p.text("gocat: ", text, "\x00")
			p.suspect(i)
			p.text(rest, "\n")
			outcome |= (base + uint64(len(p.data)) - outcome) << 32
		}
		put(r.nr)
		put(r.args[:]...)
		put(r.mask, r.want, outcome)
	}
	// Last, when the size is known: how many words the stub must wipe.
	size := base + uint64(len(p.data)) - Base
	end := len(head) - recordSize
	binary.LittleEndian.PutUint64(head[end+5*8:], (size+7)/8)
	return head, p.data
}

// Part returns the plan as a part of an executable.
func (p *Plan) Part(e Entry, c Cmdline) (Part, error) {
	head, data := p.link(e, c)
	if n := len(head) + len(data); n > Room {
		return Part{}, fmt.Errorf("the set-up takes %d bytes: at most %d are possible", n, Room)
	}
	return Part{Addr: Base, Prot: Read | Write, Data: Pieces(head, data)}, nil
}

// SetWant changes the wanted result of a record, in what Part returned.
func SetWant(part Part, record int, want uint64) {
	binary.LittleEndian.PutUint64(part.Data[0][planHeader+recordSize*record+8*8:], want)
}

// stubAlone is where the stub lies in an executable that has nothing but a plan.
const stubAlone = 0x10000

// Executable returns a program that carries out a plan and nothing else: one that
// ends in Exec or exit_group.
func (p *Plan) Executable() (*Executable, error) {
	steps, err := p.Part(Entry{}, Cmdline{Addr: Base})
	if err != nil {
		return nil, err
	}
	return &Executable{Entry: stubAlone, Parts: []Part{{Addr: stubAlone, Prot: Read | Exec, Data: Pieces(Stub())}, steps}}, nil
}
