package embedded

import (
	"cmp"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Segment is one file of a partition. The broker deletes a file when all records
// in it were trimmed.
type Segment struct {
	Topic     string
	Partition int32
	Base      int64 // the offset of its first record
	Bytes     int64
}

// Segments lists the files of all partitions, each partition's oldest first.
func (b *Broker) Segments() ([]Segment, error) {
	files, err := filepath.Glob(filepath.Join(b.dir, "partitions", "*", "*.dat"))
	if err != nil {
		return nil, fmt.Errorf("list segments: %w", err)
	}
	var out []Segment
	for _, f := range files {
		info, err := os.Stat(f)
		if os.IsNotExist(err) { // trimmed meanwhile
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list segments: %w", err)
		}
		folder := filepath.Base(filepath.Dir(f))
		dash := strings.LastIndex(folder, "-")
		if dash < 0 {
			continue
		}
		topic, terr := url.PathUnescape(folder[:dash])
		id, ierr := strconv.ParseInt(folder[dash+1:], 10, 32)
		base, berr := strconv.ParseInt(strings.TrimSuffix(filepath.Base(f), ".dat"), 10, 64)
		if terr != nil || ierr != nil || berr != nil {
			continue // not a segment
		}
		out = append(out, Segment{topic, int32(id), base, info.Size()})
	}
	slices.SortFunc(out, func(x, y Segment) int {
		return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition), cmp.Compare(x.Base, y.Base))
	})
	return out, nil
}
