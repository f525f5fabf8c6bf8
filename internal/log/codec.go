package log

import (
	"fmt"
	"strconv"
	"strings"

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
	for _, a := range p.Attributes() {
		if a.Present {
			m.Headers = append(m.Headers, Header{headerPrefix + a.Name, a.Value})
		}
	}
	m.Headers = append(m.Headers,
		Header{headerPrevHash, p.PrevHash.String()}, Header{headerHash, p.Hash.String()},
		Header{headerEpoch, strconv.Itoa(p.Epoch)}, Header{headerPrevPos, strconv.FormatUint(uint64(p.PrevPos), 10)})
	return m
}

// Decode is the inverse of Encode. It checks forms, not hashes.
func Decode(m Message) (Published, error) {
	var p Published
	values := make(map[string]string, len(m.Headers))
	for _, h := range m.Headers {
		if name, ok := strings.CutPrefix(h.Key, headerPrefix); ok {
			values[name] = h.Value
		}
	}
	var err error
	p.Envelope, err = events.ParseAttributes(func(name string) (string, bool) { v, ok := values[name]; return v, ok })
	if err != nil {
		return p, fmt.Errorf("decode %s@%d: %w", m.Partition, m.Offset, err)
	}
	p.Data = m.Value
	if err := p.PrevHash.UnmarshalText([]byte(values["prevhash"])); err != nil {
		return p, fmt.Errorf("decode %s@%d: prevhash: %w", m.Partition, m.Offset, err)
	}
	if err := p.Hash.UnmarshalText([]byte(values["hash"])); err != nil {
		return p, fmt.Errorf("decode %s@%d: hash: %w", m.Partition, m.Offset, err)
	}
	prev, err := strconv.ParseUint(values["prevpos"], 10, 64)
	if err != nil {
		return p, fmt.Errorf("decode %s@%d: prevpos: %w", m.Partition, m.Offset, err)
	}
	p.PrevPos = domain.Position(prev)
	if p.Epoch, err = strconv.Atoi(values["epoch"]); err != nil {
		return p, fmt.Errorf("decode %s@%d: epoch: %w", m.Partition, m.Offset, err)
	}
	return p, nil
}
