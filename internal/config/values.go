package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
)

// Secret is a value that never shows itself: fmt, slog and JSON print
// `[secret]`. Reveal is the only way out, so that uses can be found.
type Secret struct{ value string }

const redacted = "[secret]"

// NewSecret wraps a value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the value.
func (s Secret) Reveal() string { return s.value }

// Set reports whether there is a value.
func (s Secret) Set() bool { return s.value != "" }

// String hides the value.
func (s Secret) String() string { return redacted }

// Format hides the value from every verb, %#v and %x included.
func (s Secret) Format(f fmt.State, _ rune) {
	// A fmt.State that cannot be written to reports it to its own caller.
	_, _ = f.Write([]byte(redacted))
}

// LogValue hides the value from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON hides the value from JSON.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// MarshalText hides the value from every other encoding.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText takes the value over.
func (s *Secret) UnmarshalText(b []byte) error {
	s.value = string(b)
	return nil
}

// Bytes is a size, written like 512MB (powers of ten) or 512MiB (powers of two).
type Bytes int64

var units = []struct {
	name string
	size Bytes
}{
	{"TiB", 1 << 40},
	{"GiB", 1 << 30},
	{"MiB", 1 << 20},
	{"KiB", 1 << 10},
	{"TB", 1e12},
	{"GB", 1e9},
	{"MB", 1e6},
	{"KB", 1e3},
	{"B", 1},
}

// UnmarshalText reads a size. A number without a unit is refused, because
// nobody remembers which unit it has.
func (b *Bytes) UnmarshalText(text []byte) error {
	s := strings.ToUpper(strings.TrimSpace(string(text)))
	for _, u := range units {
		number, ok := strings.CutSuffix(s, strings.ToUpper(u.name))
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		size := v * float64(u.size)
		if err != nil || math.IsNaN(v) || v < 0 || size >= math.MaxInt64 {
			break
		}
		*b = Bytes(size)
		return nil
	}
	return fmt.Errorf("%q is not a size; write a number and KB, MB, GB, TB, KiB, MiB, GiB or TiB", text)
}

// String writes the size in the largest unit that leaves a whole number.
func (b Bytes) String() string {
	best := units[len(units)-1]
	for _, u := range units {
		if b != 0 && b%u.size == 0 && u.size > best.size {
			best = u
		}
	}
	return strconv.FormatInt(int64(b/best.size), 10) + best.name
}

// MarshalText writes the size as String does.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// Retain is how much to keep: a size, or everything.
type Retain struct {
	All  bool
	Size Bytes // when not All
}

// UnmarshalText reads `all` or a size.
func (r *Retain) UnmarshalText(text []byte) error {
	if strings.EqualFold(string(text), "all") {
		*r = Retain{All: true}
		return nil
	}
	*r = Retain{}
	if err := r.Size.UnmarshalText(text); err != nil {
		return fmt.Errorf("%w; or all", err)
	}
	return nil
}

// String writes what UnmarshalText reads.
func (r Retain) String() string {
	if r.All {
		return "all"
	}
	return r.Size.String()
}

// MarshalText writes what UnmarshalText reads.
func (r Retain) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Switch is on or off.
type Switch bool

// UnmarshalText reads on, off, true, false, yes, no, 1 or 0.
func (s *Switch) UnmarshalText(text []byte) error {
	switch strings.ToLower(string(text)) {
	case "on", "true", "yes", "1":
		*s = true
	case "off", "false", "no", "0":
		*s = false
	default:
		return fmt.Errorf("%q is neither on nor off", text)
	}
	return nil
}

// TopicPrefix is the beginning of the names of topics: at most 100 of the
// characters that Kafka allows.
type TopicPrefix string

// UnmarshalText reads a prefix.
func (p *TopicPrefix) UnmarshalText(text []byte) error {
	const most = 100
	if len(text) > most {
		return fmt.Errorf("a prefix of %d characters is too long; use at most %d", len(text), most)
	}
	for _, c := range text {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
			return fmt.Errorf("%q holds a character that topics cannot have; use letters, digits, . - and _", text)
		}
	}
	*p = TopicPrefix(text)
	return nil
}

// Format is the form of the program's own log.
type Format string

// The forms of the log.
const (
	JSON Format = "json" // one object a line, for machines
	Text Format = "text" // key=value, for people
)

// UnmarshalText reads json or text.
func (f *Format) UnmarshalText(text []byte) error {
	switch v := Format(strings.ToLower(string(text))); v {
	case JSON, Text:
		*f = v
		return nil
	}
	return fmt.Errorf("%q is neither json nor text", text)
}

// Sampler decides which traces are kept; its names are those of OpenTelemetry.
type Sampler string

// UnmarshalText reads the name of a sampler.
func (s *Sampler) UnmarshalText(text []byte) error {
	switch name := strings.ToLower(string(text)); strings.TrimPrefix(name, "parentbased_") {
	case "always_on", "always_off", "traceidratio":
		*s = Sampler(name)
		return nil
	}
	return fmt.Errorf("%q is not a sampler", text)
}

// Ratio is a share, from 0 to 1.
type Ratio float64

// UnmarshalText reads a ratio.
func (r *Ratio) UnmarshalText(text []byte) error {
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(v >= 0 && v <= 1) { // also refuses NaN
		return fmt.Errorf("%q is not a number from 0 to 1", text)
	}
	*r = Ratio(v)
	return nil
}
