package library

import (
	"fmt"
	"strings"

	"github.com/hishamos/hishamos/domain"
)

// Problem is one thing that is wrong with a file: where, what, and how to mend
// it. It unwraps to a *domain.Error, so that it reaches users like any other.
type Problem struct {
	File         string
	Line, Column int
	Path         string // such as steps[2].needs[0]
	Message      string
	Fix          string
	kind         domain.ErrorKind
}

func (p *Problem) Error() string {
	s := fmt.Sprintf("%s:%d:%d: ", p.File, p.Line, p.Column)
	if p.Path != "" {
		s += p.Path + ": "
	}
	s += p.Message
	if p.Fix != "" {
		s += " (" + p.Fix + ")"
	}
	return s
}

// Unwrap gives the problem as the error type users see.
func (p *Problem) Unwrap() error {
	kind := p.kind
	if kind == "" {
		kind = domain.Invalid
	}
	return &domain.Error{
		Kind: kind, Code: "library.invalid_file", Field: p.Path, Fix: p.Fix,
		Message: fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message),
	}
}

// Problems is everything that is wrong with a file, in the order of its lines.
type Problems []*Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives each problem, so that errors.As finds the first.
func (p Problems) Unwrap() []error {
	errs := make([]error, len(p))
	for i, one := range p {
		errs[i] = one
	}
	return errs
}

// report collects the problems of one file.
type report struct {
	file     string
	problems Problems
}

// maxProblems bounds a report: who reads the fiftieth problem mends the first.
const maxProblems = 50

// add notes a problem at a node.
func (r *report) add(n *node, path, fix, format string, args ...any) {
	if len(r.problems) >= maxProblems {
		return
	}
	r.problems = append(r.problems, &Problem{
		File: r.file, Line: n.line, Column: n.column, Path: path, Fix: fix, Message: fmt.Sprintf(format, args...),
	})
}

func (r *report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	return r.problems
}

// nearest is the candidate closest to a misspelt word, or "".
func nearest(word string, candidates []string) string {
	best, distance := "", max(2, len(word)/3)+1
	for _, c := range candidates {
		if d := editDistance(word, c); d < distance {
			best, distance = c, d
		}
	}
	return best
}

func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

// suggest words the fix for an unknown name.
func suggest(word string, candidates []string) string {
	if len(word) <= 64 {
		if n := nearest(word, candidates); n != "" {
			return fmt.Sprintf("did you mean %q?", n)
		}
	}
	if len(candidates) == 0 {
		return ""
	}
	return "use one of " + strings.Join(candidates, ", ")
}
