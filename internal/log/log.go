// Package log is the contract of the published log: topics of partitions on
// Kafka, carrying every event in full.
//
// It must not know what events mean, nor decide what is true: the event store
// does. Implementations are kafka/ (sarama; real brokers and the embedded one)
// and memory/; logtest/ is the suite all must pass.
//
// Start reading at Log; codec.go fixes the form of a record on Kafka.
package log

import (
	"context"
	"fmt"
	"strings"

	"github.com/hishamos/hishamos/events"
)

// Partition is one ordered part of a topic.
type Partition struct {
	Topic string
	ID    int32
}

func (p Partition) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.ID) }

// Header is one record header.
type Header struct{ Key, Value string }

// Message is a record, with its place when it was read or published.
type Message struct {
	Partition
	Offset  int64
	Key     string
	Headers []Header
	Value   []byte

	memory *memory // of what Decode made of it; nil: it is not kept
}

// Header returns the value of a header.
func (m Message) Header(key string) (string, bool) {
	for _, h := range m.Headers {
		if h.Key == key {
			return h.Value, true
		}
	}
	return "", false
}

// Bounds are the offsets of a partition: of the first record that is still
// there, and of the next record to be written.
type Bounds struct{ First, End int64 }

// Topic is a topic to be made.
type Topic struct {
	Name       string
	Partitions int
	Config     map[string]string // broker's names, such as retention.ms
}

// Log reads and writes topics. Implementations are safe for concurrent use.
type Log interface {
	// Create makes the topics that are missing and checks those that exist: a
	// different number of partitions or an unsafe setting is an error. What it
	// made takes records when it returns.
	Create(ctx context.Context, topics []Topic) error
	// Topics returns the existing topics that begin with a prefix, and their
	// numbers of partitions.
	Topics(ctx context.Context, prefix string) (map[string]int, error)
	// Delete removes topics with all their records.
	Delete(ctx context.Context, topics ...string) error
	// Publish writes messages to the partitions they name, in order within each
	// partition, and returns when all replicas have them. After an error any
	// prefix per partition may have been written: read Last before going on.
	Publish(ctx context.Context, messages []Message) error
	// Bounds returns the offsets of partitions.
	Bounds(ctx context.Context, partitions ...Partition) (map[Partition]Bounds, error)
	// Last returns the newest record of a partition that is still there.
	Last(ctx context.Context, p Partition) (m Message, ok bool, err error)
	// Open reads a partition from an offset; -1 means the first that is there. An
	// offset out of range is ErrOffsetOutOfRange.
	Open(ctx context.Context, p Partition, offset int64) (Reader, error)
	// Trim deletes the records before an offset.
	Trim(ctx context.Context, p Partition, before int64) error
	Close() error
}

// Reader reads one partition in order. It is used by one goroutine.
type Reader interface {
	// Poll returns the records that have arrived, up to max, without waiting. Other
	// readers may get the same slice: it must not be changed.
	Poll(max int) ([]Message, error)
	// Ready receives when Poll may have something to return.
	Ready() <-chan struct{}
	Close() error
}

// ErrOffsetOutOfRange says that an offset is not (or no longer) in a partition.
var ErrOffsetOutOfRange = fmt.Errorf("offset out of range")

// Prefix begins the name of every topic of a log.
const Prefix = "hishamos."

// TopicOf is the topic of an event type: `hishamos.<context>.events`, where the
// context is the first part of the type.
func TopicOf(eventType string) string {
	if topic, ok := topics[eventType]; ok {
		return topic
	}
	return topicOf(eventType)
}

// topics are those of the types that this build knows.
var topics = func() map[string]string {
	of := make(map[string]string)
	for name := range events.Types() {
		of[name] = topicOf(name)
	}
	return of
}()

func topicOf(eventType string) string {
	context, _, _ := strings.Cut(eventType, ".")
	return Prefix + context + ".events"
}

// PartitionOf is the partition of a key: Kafka's default partitioner (murmur2),
// so that any client finds a stream where we put it.
func PartitionOf(key string, partitions int) int32 {
	return int32(murmur2([]byte(key))&0x7fffffff) % int32(partitions)
}

// murmur2 is the hash of Apache Kafka's default partitioner
// (org.apache.kafka.common.utils.Utils.murmur2).
func murmur2(data []byte) uint32 {
	const m, r = 0x5bd1e995, 24
	h := uint32(0x9747b28c) ^ uint32(len(data))
	for len(data) >= 4 {
		k := uint32(data[0]) | uint32(data[1])<<8 | uint32(data[2])<<16 | uint32(data[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h = h*m ^ k
		data = data[4:]
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(data[0])) * m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}
