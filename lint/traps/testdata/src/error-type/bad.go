package p

type closeError struct{ code int } // want `error-type: `

func (e *closeError) Error() string { return "closed" }

type code int // want `error-type: `

func (c code) Error() string { return "code" }
