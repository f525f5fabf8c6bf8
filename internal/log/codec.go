package log

import (
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// Header names beside the hashed attributes.
const (
	headerPrefix      = "ce_"
	headerSpecVersion = "ce_specversion"
	headerContentType = "content-type"
	headerPrevHash    = "ce_prevhash"
	headerHash        = "ce_hash"
	headerEpoch       = "ce_epoch"
	headerPrevPos     = "ce_prevpos"
)

// attributeHeaders are the names of the headers of attributes, in their order.
var attributeHeaders = func() (names []string) {
	for _, a := range (events.Envelope{}).Attributes() {
		names = append(names, headerPrefix+a.Name)
	}
	return names
}()

// headerNames are all names that Encode gives to headers.
var headerNames = func() map[string]string {
	names := make(map[string]string)
	for _, n := range attributeHeaders {
		names[n] = n
	}
	for _, n := range []string{headerSpecVersion, headerContentType, headerPrevHash, headerHash, headerEpoch, headerPrevPos} {
		names[n] = n
	}
	return names
}()

// HeaderName is the text of a header's name, without a copy of its own if it is
// one that events have.
func HeaderName(name []byte) string {
	if known, ok := headerNames[string(name)]; ok {
		return known
	}
	return string(name)
}

// Published is an event as Kafka carries it: the record, the epoch of the Kafka
// log it is in, and the position before it in the same partition (0: none).
type Published struct {
	events.Record
	Epoch   int
	PrevPos domain.Position
}

// Encode gives the CloudEvents 1.0 binary-mode message of an event: key = stream,
// attributes as headers, value = data.
func Encode(p Published, partitions int) Message {
	m := Message{
		Partition: Partition{TopicOf(p.Type), PartitionOf(string(p.Stream), partitions)},
		Key:       string(p.Stream),
		Value:     p.Data,
	}
	m.Headers = append(make([]Header, 0, 28),
		Header{headerSpecVersion, "1.0"}, Header{headerContentType, "application/json"})
	for i, a := range p.Attributes() {
		if a.Present {
			m.Headers = append(m.Headers, Header{attributeHeaders[i], a.Value})
		}
	}
	m.Headers = append(m.Headers,
		Header{headerPrevHash, p.PrevHash.String()}, Header{headerHash, p.Hash.String()},
		Header{headerEpoch, strconv.Itoa(p.Epoch)}, Header{headerPrevPos, strconv.FormatUint(uint64(p.PrevPos), 10)})
	return m
}

// memory is what a message was decoded to, by whoever was first.
type memory struct {
	once      sync.Once
	published Published
	err       error
}

// Memorable gives messages that several readers get a place to keep what they
// are decoded to, so that it is done once. It returns the same slice.
func Memorable(messages []Message) []Message {
	if !slices.ContainsFunc(messages, func(m Message) bool { return m.memory == nil }) {
		return messages
	}
	memories := make([]memory, len(messages))
	for i := range messages {
		if messages[i].memory == nil {
			messages[i].memory = &memories[i]
		}
	}
	return messages
}

// Remember keeps with a message what it was made of by Encode, for readers in the
// same process.
func Remember(m Message, p Published) Message {
	m.memory = &memory{published: p}
	m.memory.once.Do(func() {})
	return m
}

// Resumes reports whether whoever has had everything up to a position may go on at
// an offset of a partition that ends with the message last. A log that was lost and
// filled again in its epoch can end at that offset with other records; before its
// end, the record there tells what is missing before it.
func Resumes(last Message, offset int64, had domain.Position) bool {
	if offset <= last.Offset {
		return true
	}
	p, err := Decode(last)
	return err == nil && p.Position <= had
}

// Decode is the inverse of Encode. It checks forms, not hashes. What it returns
// must not be changed: other readers may have got the same.
func Decode(m Message) (*Published, error) {
	if m.memory == nil {
		p, err := decode(m)
		return &p, err
	}
	m.memory.once.Do(func() { m.memory.published, m.memory.err = decode(m) })
	return &m.memory.published, m.memory.err
}

func decode(m Message) (Published, error) {
	var p Published
	next := 0 // most often they stand in the order in which they are asked for
	value := func(name string) (string, bool) {
		for i := range m.Headers {
			at := (next + i) % len(m.Headers)
			if k := m.Headers[at].Key; len(k) == len(headerPrefix)+len(name) && k[len(headerPrefix):] == name && k[:len(headerPrefix)] == headerPrefix {
				next = at + 1
				return m.Headers[at].Value, true
			}
		}
		return "", false
	}
	values := func(name string) string { v, _ := value(name); return v }
	var err error
	p.Envelope, err = events.ParseAttributes(value)
	if err != nil {
		return p, fmt.Errorf("decode %s@%d: %w", m.Partition, m.Offset, err)
	}
	p.Data = m.Value
	if err := p.PrevHash.UnmarshalText([]byte(values("prevhash"))); err != nil {
		return p, fmt.Errorf("decode %s@%d: prevhash: %w", m.Partition, m.Offset, err)
	}
	if err := p.Hash.UnmarshalText([]byte(values("hash"))); err != nil {
		return p, fmt.Errorf("decode %s@%d: hash: %w", m.Partition, m.Offset, err)
	}
	prev, err := strconv.ParseUint(values("prevpos"), 10, 64)
	if err != nil {
		return p, fmt.Errorf("decode %s@%d: prevpos: %w", m.Partition, m.Offset, err)
	}
	p.PrevPos = domain.Position(prev)
	if p.Epoch, err = strconv.Atoi(values("epoch")); err != nil {
		return p, fmt.Errorf("decode %s@%d: epoch: %w", m.Partition, m.Offset, err)
	}
	return p, nil
}
