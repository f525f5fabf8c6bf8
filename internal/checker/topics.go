package checker

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/IBM/sarama"
)

// published is rule I4: each partition holds events of the store in its order,
// each naming the one before it; all partitions together hold all events once.
// A repetition of records that are there already is not a fault, since consumers
// are promised to be able to drop it, but it must be one whole stretch of the
// partition, word for word.
func (st *story) published() error {
	config := sarama.NewConfig()
	config.Version = sarama.V2_8_0_0
	config.Consumer.Return.Errors = true
	client, err := sarama.NewClient(st.sources.Brokers, config)
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // everything was read
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return err
	}
	topics, err := client.Topics()
	if err != nil {
		return err
	}
	seen := make([]bool, len(st.events)+1)
	for _, topic := range topics {
		if !strings.HasPrefix(topic, "hishamos.") || !strings.HasSuffix(topic, ".events") {
			continue
		}
		partitions, err := client.Partitions(topic)
		if err != nil {
			return err
		}
		for _, p := range partitions {
			if err := st.partition(client, consumer, topic, p, seen); err != nil {
				return fmt.Errorf("%s/%d: %w", topic, p, err)
			}
		}
	}
	for i := range st.events {
		if p := st.events[i].Position; int(p) < len(seen) && !seen[p] {
			st.report.violated(Published, "position %d (%s) is in no topic", p, st.events[i].Type)
		}
	}
	return nil
}

// partition reads one partition to its end and compares it.
func (st *story) partition(client sarama.Client, consumer sarama.Consumer, topic string, p int32, seen []bool) error {
	end, err := client.GetOffset(topic, p, sarama.OffsetNewest)
	if err != nil || end == 0 {
		return err
	}
	reader, err := consumer.ConsumePartition(topic, p, sarama.OffsetOldest)
	if err != nil {
		return err
	}
	defer reader.Close() //nolint:errcheck // everything was read
	last := uint64(0)    // the greatest position so far
	for {
		var m *sarama.ConsumerMessage
		select {
		case m = <-reader.Messages():
		case err := <-reader.Errors():
			return err
		}
		if position := st.record(m, last, seen); position > last {
			last = position
		}
		if m.Offset+1 >= end {
			return nil
		}
	}
}

// record compares one record with its event and returns its position.
func (st *story) record(m *sarama.ConsumerMessage, last uint64, seen []bool) uint64 {
	st.report.Records++
	headers := map[string]string{}
	for _, h := range m.Headers {
		headers[string(h.Key)] = string(h.Value)
	}
	at := fmt.Sprintf("%s/%d@%d", m.Topic, m.Partition, m.Offset)
	position, err := strconv.ParseUint(headers["ce_position"], 10, 64)
	if err != nil || position == 0 || position > uint64(len(st.events)) {
		st.report.violated(Published, "%s carries position %q, which the store has not", at, headers["ce_position"])
		return 0
	}
	e := &st.events[position-1]
	for _, a := range e.attributes() {
		if headers["ce_"+a.name] != a.value {
			st.report.violated(Published, "%s: %s is %q, in the store %q", at, a.name, headers["ce_"+a.name], a.value)
		}
	}
	if headers["ce_hash"] != hex.EncodeToString(e.Hash) || string(m.Value) != string(e.Data) || string(m.Key) != e.Stream {
		st.report.violated(Published, "%s: hash, key or data are not those of position %d", at, position)
	}
	context, _, _ := strings.Cut(e.Type, ".")
	if want := "hishamos." + context + ".events"; m.Topic != want {
		st.report.violated(Published, "%s: %s belongs into %s", at, e.Type, want)
	}
	prev := headers["ce_prevpos"]
	switch {
	case position > last && prev != strconv.FormatUint(last, 10):
		st.report.violated(Published, "%s: position %d follows %d but says it follows %s", at, position, last, prev)
	case position <= last && !seen[position]:
		st.report.violated(Published, "%s: position %d comes after %d for the first time", at, position, last)
	}
	seen[position] = true
	return position
}
