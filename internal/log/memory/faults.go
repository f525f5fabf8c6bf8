package memory

import (
	"errors"

	"github.com/hishamos/hishamos/internal/log"
)

// ErrPublish is the error of a publish that was told to fail.
var ErrPublish = errors.New("publish failed by plan")

// fault is what happens to one call of Publish.
type fault struct {
	err    error
	prefix int // messages written before the error
	copies int // further times the messages are written
}

// FailPublish makes a call of Publish write the first n messages and then fail.
// Calls of FailPublish and RepeatPublish queue up, one for each Publish.
func (l *Log) FailPublish(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.publish = append(l.publish, fault{err: ErrPublish, prefix: n})
}

// RepeatPublish makes a call of Publish write its messages twice, as a revived
// publisher does.
func (l *Log) RepeatPublish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.publish = append(l.publish, fault{copies: 1})
}

// CutTail takes the newest n records of a partition away, as a broker does that
// lost power.
func (l *Log) CutTail(id log.Partition, n int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, err := l.find(id)
	if err != nil {
		return err
	}
	p.records = p.records[:max(0, len(p.records)-n)]
	return nil
}

// Redeliver makes every open reader of a partition deliver its last n records
// once more.
func (l *Log) Redeliver(id log.Partition, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for r := range l.readers {
		if r.id == id {
			r.again += n
			r.signal()
		}
	}
}

// Wipe takes everything away, topics and resume points too: the broker's disk
// is new.
func (l *Log) Wipe() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.topics)
	clear(l.groups)
	l.wake()
}
