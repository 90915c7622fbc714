// Package audit has tests of what gocat is made of: which packages may do unsafe
// things, what a start-up may load, what docs/surface.md says is left to a guest,
// and which fuzz targets docs/fuzzing.md has.
package audit
