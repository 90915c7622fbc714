package kernel

import "gocat/internal/abi"

// Limits of the command line: HVT_CMDLINE_SIZE and SPT_CMDLINE_SIZE, and how
// many words fit into it.
const (
	maxCmdline = abi.CmdlineSize
	maxWords   = maxCmdline / 2
)

// words of the command line: offsets in its copy, each NUL-terminated there.
var (
	words  [maxWords]uint16
	nWords int
)

// split copies the command line to [to, to+maxCmdline) and takes it apart. Words
// end at white space. A word, or a part of it, may be quoted: " takes \" and \\
// in it for " and \, and ' takes everything as it is. Outside of quotes \ quotes
// the next character. gocat run --quote writes such lines, and MirageOS programs
// read them so.
func split(from, to uintptr) {
	nWords = 0
	at := uintptr(0) // in the copy
	in, quote := false, uint8(0)
	for i := uintptr(0); i < maxCmdline-1; i++ {
		c := load8(from + i)
		if c == 0 {
			break
		}
		space := c == ' ' || c == '\t' || c == '\n'
		if space && quote == 0 {
			if in {
				store8(to+at, 0)
				at++
			}
			in = false
			continue
		}
		if !in {
			if nWords == maxWords {
				return
			}
			words[nWords] = uint16(at)
			nWords++
			in = true
		}
		switch {
		case c == quote:
			quote = 0
			continue
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
			continue
		case c == '\\' && quote != '\'':
			next := load8(from + i + 1)
			if next != 0 && (quote == 0 || next == '"' || next == '\\') {
				c = next
				i++
			}
		}
		store8(to+at, c)
		at++
	}
	if in {
		store8(to+at, 0)
	}
}

// Words at the start of a command line that are not the program's arguments.
const (
	logPrefix = "--solo5:" // as Solo5's bindings have it: quiet, error, warn, info, debug
	envPrefix = "--env:"   // NAME=VALUE, for the program's environment

	endOfWords = "--\x00" // ends them in an image with sockets, which knows more of them

	programName   = "unikernel\x00"
	logVariable   = "SOLO5=" // not longer than logPrefix, which it overwrites
	limitVariable = "GOMEMLIMIT="
	homeVariable  = "HOME=/root\x00"
	userVariable  = "USER=root\x00"
)

// prefix says whether the word at addr begins with p.
func prefix(addr uintptr, p string) bool {
	for i := range len(p) {
		if load8(addr+uintptr(i)) != p[i] {
			return false
		}
	}
	return true
}

// Auxiliary vector (Linux auxvec.h).
const (
	auxPageSize = 6
	auxRandom   = 25
)

// firstStack writes what Linux puts on a new program's stack and returns the
// stack pointer: the number of arguments, their addresses, the environment, the
// auxiliary vector.
//
// The environment holds the words --env:NAME=VALUE that come first on the
// command line, SOLO5=quiet and so on for --solo5:quiet among them, and after
// them, so that they override it, HOME, USER and a GOMEMLIMIT of seven eighths of the
// memory, or what arenas of the heap can be had of it: more than there is cannot be
// had, so the collector has to work harder as the program gets near to it.
func firstStack() uintptr {
	at := stackTop - maxCmdline
	text := at
	split(cmdline, text)
	own, variables := 0, 0
	forgetNetWords()
	for own < nWords {
		w := text + uintptr(words[own])
		if withSockets && forNet(w) {
			keepNetWord(w)
		} else if prefix(w, logPrefix) || prefix(w, envPrefix) {
			variables++
		} else {
			break
		}
		own++
	}
	if withSockets && own < nWords && prefix(text+uintptr(words[own]), endOfWords) {
		own++
	}

	at -= 16
	random := at
	seed(random)
	at -= 16
	name := at
	move(name, address(programName), uintptr(len(programName)))
	at -= 32
	limit := at
	move(limit, address(limitVariable), uintptr(len(limitVariable)))
	from, to := arenas(memory.base, memory.limit)
	most := (memory.limit - memory.base) / 8 * 7
	if from < to {
		most = min(most, to-from)
	}
	number(limit+uintptr(len(limitVariable)), uint64(most))

	// What follows is an array of addresses, written from its start.
	n := 1 + 1 + (nWords - own) + 1 + variables + 3 + 1 + 6
	at = (at - uintptr(n)*8) &^ 15
	sp := at
	put := func(v uintptr) {
		store64(at, uint64(v))
		at += 8
	}
	put(uintptr(1 + nWords - own))
	put(name)
	for i := own; i < nWords; i++ {
		put(text + uintptr(words[i]))
	}
	put(0)
	for i := range own {
		w := text + uintptr(words[i])
		if prefix(w, logPrefix) {
			w += uintptr(len(logPrefix) - len(logVariable))
			move(w, address(logVariable), uintptr(len(logVariable)))
			put(w)
		} else if prefix(w, envPrefix) {
			put(w + uintptr(len(envPrefix)))
		}
	}
	put(address(homeVariable)) // of two of a name the first counts
	put(address(userVariable))
	put(limit)
	put(0)
	put(auxPageSize)
	put(pageSize)
	put(auxRandom)
	put(random)
	put(0)
	put(0)
	return sp
}

// number writes n in decimal, at most 20 digits, and a NUL.
func number(at uintptr, n uint64) {
	digits := 1
	for m := n; m >= 10; m /= 10 {
		digits++
	}
	store8(at+uintptr(digits), 0)
	for i := digits - 1; i >= 0; i-- {
		store8(at+uintptr(i), uint8('0'+n%10))
		n /= 10
	}
}
