package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/log"
)

// header describes one attribute of the envelope on Kafka.
type header struct{ name, pattern, description string }

const (
	instant = `^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$`
	number  = `^[0-9]+$`
	hexHash = `^[0-9a-f]{64}$`
)

// meanings are the attributes; which of them are always there follows from an
// envelope without optional values.
var meanings = map[string]header{
	"id":          {"", "", "Stream and sequence."},
	"source":      {"", `^/hishamos/[^/]+/[0-9]+$`, "The log and its generation."},
	"type":        {"", "", "The event type."},
	"dataschema":  {"", "", "The schema of the data, from the server's address."},
	"tenant":      {"", "", "The owner of the stream."},
	"stream":      {"", "", "The stream; also the key of the record."},
	"sequence":    {"", number, "Place in the stream, dense from 1."},
	"position":    {"", number, "Place in the log, gapless from 1."},
	"time":        {"", instant, "When it happened."},
	"recorded":    {"", instant, "When it was appended; never before its predecessor's."},
	"correlation": {"", "", "The command that began it all."},
	"causation":   {"", "", "The event or command that led directly to it."},
	"command":     {"", "", "The command it was appended by."},
	"index":       {"", number, "Place in the append, from 0."},
	"count":       {"", number, "Events in the append."},
	"claims":      {"", "", "Unique keys taken or released, as RFC 8785 JSON."},
	"actor":       {"", "", "The chain of who acted, originator first, as RFC 8785 JSON."},
	"decidedby":   {"", "", "What decided: engine, template, prices, as RFC 8785 JSON."},
	"forkedfrom":  {"", "", "The event a forked stream begins behind."},
	"traceparent": {"", "", "W3C trace context."},
	"keyids":      {"", "", "The keys that sealed fields, as RFC 8785 JSON."},
}

// relayed are the headers the relay adds; they are not hashed into the leaf.
var relayed = []header{
	{"ce_specversion", "", "Version of CloudEvents."},
	{"content-type", "", "Form of the value."},
	{"ce_prevhash", hexHash, "Chain hash of the event before it."},
	{"ce_hash", hexHash, "Chain hash of the event."},
	{"ce_epoch", number, "Epoch of the topics: raised when they are filled anew."},
	{"ce_prevpos", number, "Position of the record before it in the same partition; 0 for the first."},
}

type object = yaml.MapSlice

func field(k string, v any) yaml.MapItem { return yaml.MapItem{Key: k, Value: v} }

// asyncAPI describes the topics for outside consumers.
func asyncAPI(src source) ([]byte, error) {
	var channels, operations, messages object
	topics := map[string][]events.Type{}
	for _, t := range catalogue() {
		topic := log.TopicOf(t.Name)
		topics[topic] = append(topics[topic], t)
	}
	for _, topic := range slices.Sorted(maps.Keys(topics)) {
		context := strings.Split(topic, ".")[1]
		var refs object
		for _, t := range topics[topic] {
			typ := reflect.TypeOf(t.Zero).Name()
			refs = append(refs, field(typ, object{field("$ref", "#/components/messages/"+typ)}))
			schema, err := filepath.Rel("api", schemaFile(t))
			if err != nil {
				return nil, err
			}
			messages = append(messages, field(typ, object{
				field("name", t.Name),
				field("summary", src.sentence("events", typ)),
				field("contentType", "application/json"),
				field("headers", object{field("$ref", "#/components/schemas/Headers")}),
				field("payload", object{field("$ref", "./"+filepath.ToSlash(schema))}),
				field("bindings", object{field("kafka", object{
					field("key", object{field("type", "string"), field("description", "The stream.")}),
					field("bindingVersion", "0.5.0"),
				})}),
			}))
		}
		channels = append(channels, field(context, object{
			field("address", topic),
			field("description", fmt.Sprintf("Every event of %s, in order per stream.", context)),
			field("messages", refs),
		}))
		operations = append(operations, field("publish"+strings.ToUpper(context[:1])+context[1:], object{
			field("action", "send"),
			field("channel", object{field("$ref", "#/channels/"+context)}),
		}))
	}
	headers, err := headerSchema()
	if err != nil {
		return nil, err
	}
	out, err := yaml.MarshalWithOptions(object{
		field("asyncapi", "3.0.0"),
		field("info", object{
			field("title", "HishamOS event log"),
			field("version", fmt.Sprint(events.Level)),
			field("description", "Topics on Kafka that carry every event in full, as CloudEvents 1.0 in binary mode. "+
				"A record whose ce_prevpos is not the position you read last in its partition is a repeat (its position is not greater) or follows a hole. "+
				"Headers and properties that you do not know are to be ignored."),
		}),
		field("defaultContentType", "application/json"),
		field("channels", channels),
		field("operations", operations),
		field("components", object{field("schemas", object{field("Headers", headers)}), field("messages", messages)}),
	}, yaml.Indent(2), yaml.UseSingleQuote(true))
	return append([]byte("# Generated by `make generate` from the catalogue of events.\n"), out...), err
}

func headerSchema() (object, error) {
	var properties object
	var required []string
	add := func(h header, always bool) {
		schema := object{field("type", "string")}
		if h.pattern != "" {
			schema = append(schema, field("pattern", h.pattern))
		}
		properties = append(properties, field(h.name, append(schema, field("description", h.description))))
		if always {
			required = append(required, h.name)
		}
	}
	for _, a := range (events.Envelope{}).Attributes() {
		h, ok := meanings[a.Name]
		if !ok {
			return nil, fmt.Errorf("attribute %s is not explained", a.Name)
		}
		h.name = "ce_" + a.Name
		add(h, a.Present)
	}
	for _, h := range relayed {
		add(h, true)
	}
	return object{field("type", "object"), field("required", required), field("properties", properties)}, nil
}
