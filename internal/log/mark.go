package log

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/hishamos/hishamos/domain"
)

// Mark says that a log has every event up to a position, and which was then the
// newest of each partition (0: it has none). The second half is what shows a
// reader that the log has lost something since.
type Mark struct {
	Position domain.Position
	Tails    Tails
}

// Tails are the positions of the newest records of partitions.
type Tails map[Partition]domain.Position

// MarshalText writes one partition a line: topic, number and position.
func (t Tails) MarshalText() ([]byte, error) {
	var b []byte
	for p, at := range t {
		b = fmt.Appendf(b, "%s %d %d\n", p.Topic, p.ID, at)
	}
	return b, nil
}

// UnmarshalText reads what MarshalText wrote.
func (t *Tails) UnmarshalText(b []byte) error {
	*t = make(Tails)
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return fmt.Errorf("tail %q is not a topic, a partition and a position", line)
		}
		id, err := strconv.ParseInt(f[1], 10, 32)
		if err != nil {
			return fmt.Errorf("tail %q: %w", line, err)
		}
		at, err := strconv.ParseUint(f[2], 10, 64)
		if err != nil {
			return fmt.Errorf("tail %q: %w", line, err)
		}
		(*t)[Partition{f[0], int32(id)}] = domain.Position(at)
	}
	return nil
}
