package kvmhvt

import (
	"time"

	"gocat/internal/image"
	"gocat/internal/raw"
)

// period is how much processor time a guest has between two interrupts of its
// timer: that after which Go's runtime wants a goroutine to give way.
const period = 10 * time.Millisecond

// vectorTimer is the guest's handler that the timer calls: the first that is no
// exception's.
const vectorTimer = 32

// Timer says whether a timer interrupts the guest.
type Timer struct {
	Period time.Duration // of processor time, or 0
	Lack   string        // why there is none, though the image asks for one
}

// attachTimer finds what the guest shares with its timer, if it asks for one, and
// where it is told of signals: that works only with a timer, by which the guest
// comes to look.
func (t *tender) attachTimer() (err error) {
	img := t.config.Image
	switch {
	case img.Timer == 0:
	case t.config.CPL != 3:
		t.timer.Lack = "there is none at privilege level 0"
	default:
		t.cpu.timer, err = t.services.mem.writable("timer", img.Timer, image.TimerSize)
		if err == nil && img.Signals != 0 {
			t.services.waits.asked, err = t.services.mem.writable("signals", img.Signals, image.SignalsSize)
		}
	}
	return err
}

// arm starts the timer. Where the host has none for it,
// the guest goes without, as under other tenders.
func (t *tender) arm() {
	if t.cpu.timer == nil {
		return
	}
	if errno := startTimer(period); errno != 0 {
		t.timer.Lack, t.cpu.timer = raw.Concat("the host gives none: ", errno.Error()), nil
		return
	}
	t.timer.Period = period
	store32(t.cpu.timer, 4, uint32(period/time.Microsecond))
}

// tick interrupts the guest, which a signal has made leave the virtual machine,
// unless it has masked that, is in the shim, or is about to enter that with an
// exception. A tick that is left out, or comes while the tender serves the guest,
// is lost: the next does as well.
func (t *tender) tick() error {
	c, m := &t.cpu, t.machine
	if c.timer == nil || load32(c.timer, 0) != 0 {
		return nil
	}
	if on, err := m.excepted(); on || err != nil {
		return err
	}
	if err := m.getRegs(); err != nil {
		return err
	}
	if err := m.getSregs(); err != nil {
		return err
	}
	if m.sregs.cs.dpl != 3 {
		return nil
	}
	t.services.stats.Ticks++
	if err := c.reflect(vectorTimer, 0); err != nil {
		return err
	}
	return m.setRegs()
}
