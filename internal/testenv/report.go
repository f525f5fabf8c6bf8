package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// report turns the events of `go test -json` into a line per package, the output
// of what failed, and numbers.
type report struct {
	out      io.Writer
	output   map[test]string // of tests that have not ended well
	packages map[string]int  // by how they ended
	tests    map[string]int  // by how they ended
	skipped  []test
}

// test names one test, or, without a name, its package.
type test struct{ Package, Test string }

// event is one line of `go test -json` (go doc test2json).
type event struct {
	test
	Action, Output, ImportPath string
	Elapsed                    float64
}

func newReport(out io.Writer) *report {
	return &report{out: out, output: map[test]string{}, packages: map[string]int{}, tests: map[string]int{}}
}

// read takes one pass. What is set for it is named behind its packages.
func (r *report) read(set string, lines io.Reader) error {
	if set != "" {
		fmt.Fprintf(r.out, "again with %s\n", set)
		set = " (" + set + ")"
	}
	scanner := bufio.NewScanner(lines)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		var e event
		if err := json.Unmarshal(scanner.Bytes(), &e); err != nil {
			fmt.Fprintln(r.out, scanner.Text()) // the go command itself speaks plainly
			continue
		}
		e.Package += set
		r.add(e)
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("read the output of go test: %w", err)
	}
	return nil
}

func (r *report) add(e event) {
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "output":
		r.output[e.test] += e.Output
	case "pass", "fail", "skip":
		r.end(e)
	}
}

func (r *report) end(e event) {
	output := r.output[e.test]
	if e.Test != "" {
		r.tests[e.Action]++
		switch e.Action {
		case "pass":
			delete(r.output, e.test)
		case "fail":
			delete(r.output, e.test)
			fmt.Fprint(r.out, output)
		case "skip":
			r.skipped = append(r.skipped, e.test)
		}
		return
	}
	delete(r.output, e.test)
	if e.Action == "skip" { // no tests, or none that match
		r.packages["without tests"]++
		return
	}
	r.packages[e.Action]++
	if e.Action == "fail" {
		r.unfinished(e.Package)
		fmt.Fprint(r.out, output)
		return
	}
	fmt.Fprintf(r.out, "ok  %s  %.1fs\n", e.Package, e.Elapsed)
}

// unfinished prints what tests wrote that never ended, as after a panic.
func (r *report) unfinished(pkg string) {
	for t, output := range r.output {
		if t.Package == pkg && t.Test != "" && !slices.Contains(r.skipped, t) {
			fmt.Fprint(r.out, output)
			delete(r.output, t)
		}
	}
}

// finish prints what was skipped and why, and the numbers. It reports a test as
// missed that was skipped for lack of something the environment has; where every
// test must run, it reports each that was skipped.
func (r *report) finish(provided map[string]string, every bool) (missed bool) {
	for _, t := range r.skipped {
		reason := r.reason(t)
		fmt.Fprintf(r.out, "skipped  %s %s: %s\n", t.Package, t.Test, reason)
		for variable := range provided {
			if strings.Contains(reason, variable) {
				fmt.Fprintf(r.out, "         but %s is set: this test must run\n", variable)
				missed = true
			}
		}
	}
	if every && len(r.skipped) > 0 {
		fmt.Fprintf(r.out, "         but %s is set: no test may skip itself here\n", envCI)
		missed = true
	}
	fmt.Fprintf(r.out, "packages: %d passed, %d failed, %d without tests\n",
		r.packages["pass"], r.packages["fail"], r.packages["without tests"])
	fmt.Fprintf(r.out, "tests: %d passed, %d failed, %d skipped\n", r.tests["pass"], r.tests["fail"], r.tests["skip"])
	return missed
}

// reason is what a test said when it skipped itself: the indented lines.
func (r *report) reason(t test) string {
	var said []string
	for line := range strings.Lines(r.output[t]) {
		if strings.HasPrefix(line, "    ") {
			said = append(said, strings.TrimSpace(line))
		}
	}
	return strings.Join(said, " ")
}
