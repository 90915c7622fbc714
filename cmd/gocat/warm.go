package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"gocat/internal/snapshot"
	"gocat/internal/tender"
)

// warmOptions are the options of gocat seal for a guest that has already started.
type warmOptions struct {
	warm, once, unsafe bool
	when               snapshot.When
	given              string // an option that only makes sense with --warm
}

func (o *warmOptions) table() []tender.Option {
	flag := func(name, help string, set func()) tender.Option {
		return tender.Option{Name: name, Help: help, Set: func(*tender.Options, string) error {
			set()
			if name != "warm" {
				o.given = name
			}
			return nil
		}}
	}
	return []tender.Option{
		flag("warm", "start the unikernel here, wait until it waits for input, and seal it as it then is", func() { o.warm = true }),
		{Name: "warm-at", Arg: "TEXT", Help: "--warm, but at its first wait after it has printed a line with TEXT",
			Set: func(_ *tender.Options, v string) error {
				if v == "" {
					return errors.New("want TEXT")
				}
				o.warm, o.when.Text = true, v
				return nil
			}},
		{Name: "warm-after", Arg: "DURATION", Help: "--warm, but at its first wait after DURATION, such as 1s",
			Set: func(_ *tender.Options, v string) (err error) {
				if o.when.After, err = time.ParseDuration(v); err != nil || o.when.After <= 0 {
					return fmt.Errorf("%q: want a time such as 500ms or 2s", v)
				}
				o.warm = true
				return nil
			}},
		flag("warm-asked", "--warm, but only when the unikernel asks for it (solo5.Snapshot of Go programs)", func() { o.warm, o.when.Asked = true, true }),
		flag("warm-anyway", "also when there is input that the unikernel has not read, which is lost", func() { o.when.Anyway = true }),
		flag("once", "let what --warm makes start a single time: it removes itself", func() { o.once = true }),
		flag("unsafe-clones", "let several unikernels begin with the same random state", func() { o.unsafe = true }),
	}
}

// boot returns what boots the guest for Guest.Seal; nil without --warm.
func (o *warmOptions) boot(g *tender.Guest) (tender.Boot, error) {
	if !o.warm {
		if o.given != "" {
			return nil, fmt.Errorf("--%s is for --warm", o.given)
		}
		return nil, nil
	}
	// The bundled cat has no randomness.
	if !o.once && !o.unsafe && g.Kernel != "" && g.Image.Generation == 0 {
		return nil, fmt.Errorf("%s does not know of its clones (it has no GEN1 note), so all would go on from the same random state, as that of MirageOS's Fortuna: keys and nonces would repeat; --once makes what starts a single time, --unsafe-clones says that it does no harm", g.Kernel)
	}
	o.when.Once = o.once
	return o.when, nil
}

// exitUnstarted ends the program if err says that a guest could not be started, of
// which its process has told.
func exitUnstarted(err error) {
	if e, ok := errors.AsType[*snapshot.Ended](err); ok && !e.Started {
		os.Exit(1)
	}
}
