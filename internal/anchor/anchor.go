// Package anchor keeps checkpoints in places that whoever runs the log cannot
// change: a file elsewhere, a Git repository, a Kafka topic.
//
// It must not know what a checkpoint proves. It imports internal/checkpoint,
// whose Anchor its types implement, and internal/log for Kafka.
//
// Start at file.go, the simplest; anchor_test.go is the suite all must pass.
package anchor

import (
	"errors"
	"fmt"
	"io"

	"github.com/hishamos/hishamos/internal/checkpoint"
)

// unread marks an error of a place that does not answer.
func unread(name string, err error) error {
	return fmt.Errorf("%s %w: %w", name, checkpoint.ErrUnread, err)
}

// scan yields the checkpoints of a stream, and reports whether the caller wants
// more of them.
func scan(r io.Reader, yield func(checkpoint.Signed, error) bool) bool {
	for s := checkpoint.NewScanner(r); ; {
		n, err := s.Next()
		if errors.Is(err, io.EOF) {
			return true // an unfinished one behind the last is being written
		}
		if !yield(n, err) || err != nil {
			return false
		}
	}
}
