package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// secretPrefix lets people and secret scanners recognise a leaked token.
const secretPrefix = "hos_"

const secretBytes = 32

// NewSecret makes a secret of 256 random bits: hos_ and 43 characters of
// base64url. Because it is random and not chosen by a person, a plain SHA-256 of
// it is safe to store.
func NewSecret() string {
	var b [secretBytes]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err) // crypto/rand.Read never returns an error
	}
	return secretPrefix + base64.RawURLEncoding.EncodeToString(b[:])
}

// Hash is how a secret is stored: "sha256:" and 64 hex digits.
func Hash(secret string) string {
	h := sha256.Sum256([]byte(secret))
	return "sha256:" + hex.EncodeToString(h[:])
}

// WellFormed reports whether a text can be a secret at all, so that garbage
// never reaches the read model.
func WellFormed(secret string) bool {
	body, ok := strings.CutPrefix(secret, secretPrefix)
	if !ok || len(body) != base64.RawURLEncoding.EncodedLen(secretBytes) {
		return false
	}
	_, err := base64.RawURLEncoding.Strict().DecodeString(body)
	return err == nil
}

// Bearer returns the secret in an Authorization header.
func Bearer(header string) (secret string, ok bool) {
	scheme, rest, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.TrimSpace(rest), true
}
