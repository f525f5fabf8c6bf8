package checkpoint

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Write puts checkpoints one behind another, an empty line after each.
func Write(notes []Signed) string {
	var b strings.Builder
	for _, n := range notes {
		b.WriteString(n.Text + "\n")
	}
	return b.String()
}

// Scanner reads what Write wrote.
type Scanner struct {
	r    *bufio.Reader
	rest strings.Builder
}

// longest is more than any checkpoint has.
const longest = 64 << 10

// NewScanner reads from r.
func NewScanner(r io.Reader) *Scanner { return &Scanner{r: bufio.NewReader(r)} }

// Next returns the next checkpoint, or io.EOF. An unfinished one at the end is
// not returned: Rest has it.
func (s *Scanner) Next() (Signed, error) {
	s.rest.Reset()
	for blank := 0; blank < 2; {
		line, err := s.r.ReadString('\n')
		if line == "\n" && s.rest.Len() == 0 {
			continue // between two checkpoints more than one line may be empty
		}
		s.rest.WriteString(line)
		if err != nil {
			if errors.Is(err, io.EOF) {
				return Signed{}, io.EOF
			}
			return Signed{}, fmt.Errorf("read checkpoints: %w", err)
		}
		if line == "\n" {
			blank++
		}
		if s.rest.Len() > longest {
			return Signed{}, fmt.Errorf("%w: it does not end", ErrForm)
		}
	}
	text := s.rest.String()
	s.rest.Reset()
	return Parse(strings.TrimSuffix(text, "\n"))
}

// Rest is what stands behind the last checkpoint.
func (s *Scanner) Rest() string { return s.rest.String() }
