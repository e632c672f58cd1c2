// Loads a Compose file as `docker compose config` does, with the library that it uses, and prints it as JSON.
//
//	compose-loader COMPOSE_FILE ENV_FILE PROFILE
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(file, env, profile string) error {
	options, err := cli.NewProjectOptions([]string{file},
		cli.WithEnvFiles(env), cli.WithDotEnv, cli.WithProfiles([]string{profile}))
	if err != nil {
		return err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return err
	}
	text, err := project.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}
