// Command verify puts certificates before Go's crypto/x509, as meshes written in Go do.
//
// It reads a JSON list of cases from standard input and writes, by name, why each was refused ("" when it
// was accepted).
package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log"
	"os"
	"time"
)

type question struct {
	Name        string    `json:"name"`
	Certificate string    `json:"certificate"`
	Others      string    `json:"others"`
	Roots       string    `json:"roots"`
	At          time.Time `json:"at"`
	CA          bool      `json:"ca"`
}

func main() {
	var questions []question
	if err := json.NewDecoder(os.Stdin).Decode(&questions); err != nil {
		log.Fatal(err)
	}
	answers := make(map[string]string, len(questions))
	for _, asked := range questions {
		answers[asked.Name] = ""
		if err := verify(asked); err != nil {
			answers[asked.Name] = err.Error()
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		log.Fatal(err)
	}
}

func verify(asked question) error {
	block, _ := pem.Decode([]byte(asked.Certificate))
	if block == nil {
		return errors.New("no PEM")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	roots, others := x509.NewCertPool(), x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(asked.Roots)) {
		return errors.New("no roots")
	}
	others.AppendCertsFromPEM([]byte(asked.Others))
	// Each usage alone: a list is satisfied by any one of them.
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if asked.CA {
		usages = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
	}
	for _, usage := range usages {
		options := x509.VerifyOptions{
			Roots:         roots,
			Intermediates: others,
			CurrentTime:   asked.At,
			KeyUsages:     []x509.ExtKeyUsage{usage},
		}
		if _, err := certificate.Verify(options); err != nil {
			return err
		}
	}
	return nil
}
