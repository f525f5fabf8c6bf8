package config

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

// The kinds of anchors.
const (
	FileAnchor  = "file"
	GitAnchor   = "git"
	KafkaAnchor = "kafka"
)

// Anchor names a place that checkpoints are brought to.
type Anchor struct {
	Kind    string // FileAnchor, GitAnchor or KafkaAnchor
	Place   string // a path, or a topic
	Outside bool   // who runs this machine cannot change what is there
	Push    string // the remote that commits are pushed to
}

// Anchors are places, separated by commas.
type Anchors []Anchor

var topicName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)

// UnmarshalText reads `kind:place?option&option`, several separated by commas.
func (a *Anchors) UnmarshalText(text []byte) error {
	*a = nil
	seen := make(map[string]bool)
	for item := range strings.SplitSeq(string(text), ",") {
		one, err := ParseAnchor(strings.TrimSpace(item))
		if err != nil {
			return err
		}
		if seen[one.Kind+one.Place] {
			return fmt.Errorf("%s:%s is named twice", one.Kind, one.Place)
		}
		seen[one.Kind+one.Place] = true
		*a = append(*a, one)
	}
	return nil
}

// ParseAnchor reads one anchor.
func ParseAnchor(text string) (Anchor, error) {
	var a Anchor
	wrong := func(reason string) (Anchor, error) {
		return Anchor{}, fmt.Errorf("%q %s; there are file:/path, git:/path and kafka:topic, with ?outside and ?push=remote", text, reason)
	}
	address, options, more := strings.Cut(text, "?")
	kind, place, ok := strings.Cut(address, ":")
	a.Kind, a.Place = kind, place
	switch {
	case !ok || kind != FileAnchor && kind != GitAnchor && kind != KafkaAnchor:
		return wrong("is no anchor")
	case kind == KafkaAnchor && (!topicName.MatchString(place) || strings.HasSuffix(place, ".events")):
		return wrong("names no topic of its own")
	case kind != KafkaAnchor && !filepath.IsAbs(place):
		return wrong("needs an absolute path")
	}
	if !more {
		return a, nil
	}
	for option := range strings.SplitSeq(options, "&") {
		name, value, valued := strings.Cut(option, "=")
		switch {
		case name == "outside" && !valued:
			a.Outside = true
		case name == "push" && kind == GitAnchor && value != "" && !strings.HasPrefix(value, "-"):
			a.Push = value
		default:
			return wrong("has an option " + option + " that does not exist")
		}
	}
	return a, nil
}

// String writes what ParseAnchor reads.
func (a Anchor) String() string {
	var options []string
	if a.Outside {
		options = append(options, "outside")
	}
	if a.Push != "" {
		options = append(options, "push="+a.Push)
	}
	s := a.Kind + ":" + a.Place
	if len(options) > 0 {
		s += "?" + strings.Join(options, "&")
	}
	return s
}
