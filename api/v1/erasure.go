package v1

// Erase is the body of a request to erase.
type Erase struct {
	Reason string `json:"reason,omitempty" maxLength:"1000" doc:"Why, for the history"`
}
