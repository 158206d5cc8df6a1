# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_callhome_relay_global_optspecs
    string join \n h/help V/version
end

function __fish_callhome_relay_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_callhome_relay_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_callhome_relay_using_subcommand
    set -l cmd (__fish_callhome_relay_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c callhome-relay -n "__fish_callhome_relay_needs_command" -s h -l help -d 'Print help'
complete -c callhome-relay -n "__fish_callhome_relay_needs_command" -s V -l version -d 'Print version'
complete -c callhome-relay -n "__fish_callhome_relay_needs_command" -f -a "serve" -d 'Run the relay, with the built-in defaults if there is no configuration file'
complete -c callhome-relay -n "__fish_callhome_relay_needs_command" -f -a "check" -d 'Check the configuration, then the way from here to each destination, hop by hop: for a failure it names the likely cause and the next step'
complete -c callhome-relay -n "__fish_callhome_relay_needs_command" -f -a "demo" -d 'Show a relay at work without a network: a stand-in server, three machines, uploads that are allowed and refused'
complete -c callhome-relay -n "__fish_callhome_relay_needs_command" -f -a "explain" -d 'Explain what policy decides for a client and a target, and by which rule'
complete -c callhome-relay -n "__fish_callhome_relay_needs_command" -f -a "config" -d 'Print the default file, the effective configuration, or its JSON Schema'
complete -c callhome-relay -n "__fish_callhome_relay_needs_command" -f -a "audit" -d 'Verify the audit trail, follow it, report on it, convert it'
complete -c callhome-relay -n "__fish_callhome_relay_needs_command" -f -a "health" -d 'Ask the running relay\'s admin listener whether the relay is ready'
complete -c callhome-relay -n "__fish_callhome_relay_needs_command" -f -a "certs" -d 'Make a CA, the relay\'s certificate, and certificates for its clients'
complete -c callhome-relay -n "__fish_callhome_relay_needs_command" -f -a "zvm" -d 'Point Zerto\'s machines at the relay'
complete -c callhome-relay -n "__fish_callhome_relay_needs_command" -f -a "completions" -d 'Print the completions for a shell'
complete -c callhome-relay -n "__fish_callhome_relay_needs_command" -f -a "man" -d 'Print the manual page, or write a page for each command'
complete -c callhome-relay -n "__fish_callhome_relay_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand serve" -l config -d 'The configuration file [default: /etc/callhome-relay/relay.toml, if it exists]' -r -F
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand serve" -s h -l help -d 'Print help'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand check" -l config -d 'The configuration file [default: /etc/callhome-relay/relay.toml, if it exists]' -r -F
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand check" -l offline -d 'Check the configuration only, and send nothing'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand check" -l json -d 'Print one JSON object'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand check" -s h -l help -d 'Print help'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand demo" -l json -d 'Print one JSON object'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand demo" -s h -l help -d 'Print help'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand explain" -l config -d 'The configuration file [default: /etc/callhome-relay/relay.toml, if it exists]' -r -F
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand explain" -l from -d 'The client\'s address' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand explain" -l certificate -d 'A host name in the client\'s certificate. Leave it out if the listener asks for no certificate' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand explain" -l to -d 'The target of the CONNECT' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand explain" -l address -d 'An address that the name resolves to' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand explain" -l sni -d 'The server name in the ClientHello. An empty name means a ClientHello without one' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand explain" -l json -d 'Print one JSON object'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand explain" -s h -l help -d 'Print help'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand config; and not __fish_seen_subcommand_from default show schema help" -s h -l help -d 'Print help'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand config; and not __fish_seen_subcommand_from default show schema help" -f -a "default" -d 'Print the commented default file'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand config; and not __fish_seen_subcommand_from default show schema help" -f -a "show" -d 'Print the effective configuration, presets included'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand config; and not __fish_seen_subcommand_from default show schema help" -f -a "schema" -d 'Print the JSON Schema of the file'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand config; and not __fish_seen_subcommand_from default show schema help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand config; and __fish_seen_subcommand_from default" -s h -l help -d 'Print help'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand config; and __fish_seen_subcommand_from show" -l config -d 'The configuration file [default: /etc/callhome-relay/relay.toml, if it exists]' -r -F
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand config; and __fish_seen_subcommand_from schema" -s h -l help -d 'Print help'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "default" -d 'Print the commented default file'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "show" -d 'Print the effective configuration, presets included'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "schema" -d 'Print the JSON Schema of the file'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and not __fish_seen_subcommand_from verify tail report quiet export schema clock keygen help" -s h -l help -d 'Print help'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and not __fish_seen_subcommand_from verify tail report quiet export schema clock keygen help" -f -a "verify" -d 'Prove that no record was changed, removed, inserted or moved'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and not __fish_seen_subcommand_from verify tail report quiet export schema clock keygen help" -f -a "tail" -d 'Show the records to people, as they are or as they come'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and not __fish_seen_subcommand_from verify tail report quiet export schema clock keygen help" -f -a "report" -d 'Sum up a month, by client and destination'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and not __fish_seen_subcommand_from verify tail report quiet export schema clock keygen help" -f -a "quiet" -d 'Say which clients haven\'t called home, since when, and why'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and not __fish_seen_subcommand_from verify tail report quiet export schema clock keygen help" -f -a "export" -d 'Convert the records for another program'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and not __fish_seen_subcommand_from verify tail report quiet export schema clock keygen help" -f -a "schema" -d 'Print the JSON Schema of a record'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and not __fish_seen_subcommand_from verify tail report quiet export schema clock keygen help" -f -a "clock" -d 'Show by how much the clock jumped ahead, and confirm that the time has passed'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and not __fish_seen_subcommand_from verify tail report quiet export schema clock keygen help" -f -a "keygen" -d 'Make the first key that seals a trail, and print its public half'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and not __fish_seen_subcommand_from verify tail report quiet export schema clock keygen help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from verify" -l config -d 'The configuration file [default: /etc/callhome-relay/relay.toml, if it exists]' -r -F
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from verify" -l key -d 'The first public key, in hexadecimal: checks the seals' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from verify" -l witness -d 'Records that a console or a syslog server kept: the trail must have the same' -r -F
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from verify" -l expect -d 'An end that the trail had, as an earlier verify or the relay\'s log printed it: the trail must go on from there' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from verify" -l accept-gaps -d 'Take gaps that the trail itself declares for fine'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from verify" -l json -d 'One JSON object'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l config -d 'The configuration file [default: /etc/callhome-relay/relay.toml, if it exists]' -r -F
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from tail" -s n -l lines -d 'So many of the last records that match [default: 10, or all with --since or --session]' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l client -d 'Of this client only' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l destination -d 'Decided by this destination only' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l decision -d 'With this decision only' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l session -d 'Of this session only: the id in the answer to a refused request' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l since -d 'Not before: 2026-11-24, 2026-11-24T14:00:00Z, or back from now: 30m, 2h, 1d' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l until -d 'Before' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from tail" -s f -l follow -d 'Go on with what is added, over rotation'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l json -d 'The records themselves, as they stand in the trail'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from tail" -s h -l help -d 'Print help'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from report" -l config -d 'The configuration file [default: /etc/callhome-relay/relay.toml, if it exists]' -r -F
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from report" -l month -d 'The month, in UTC' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from report" -l key -d 'The first public key of the trail, in hexadecimal: checks the seals. With several trails, give one for each, in their order' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from report" -l xlsx -d 'A workbook: a summary, and a sheet a client' -r -F
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from report" -l json -d 'One JSON object'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from report" -l csv -d 'A header, then one line a client and destination'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from report" -s h -l help -d 'Print help'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from quiet" -l config -d 'The configuration file [default: /etc/callhome-relay/relay.toml, if it exists]' -r -F
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from quiet" -l for -d 'How often clients call home, such as 12h or 3d. It replaces their `expect_every` [default: 3d for a client without one]' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from quiet" -l json -d 'Print one JSON object'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from quiet" -s h -l help -d 'Print help'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from export" -l config -d 'The configuration file [default: /etc/callhome-relay/relay.toml, if it exists]' -r -F
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from export" -l format -r -f -a "squid\t'Squid\'s native access.log, one line a session'
combined\t'NCSA combined, one line a session'
csv\t'A header, then one line a session, and one for each reason of refusals counted together'
ecs\t'Elastic Common Schema, one JSON object a record'"
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from export" -l client -d 'Of this client only' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from export" -l destination -d 'Decided by this destination only' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from export" -l decision -d 'With this decision only' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from export" -l session -d 'Of this session only: the id in the answer to a refused request' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from export" -l since -d 'Not before: 2026-11-24, 2026-11-24T14:00:00Z, or back from now: 30m, 2h, 1d' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from export" -l until -d 'Before' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from export" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from schema" -s h -l help -d 'Print help'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from clock" -l config -d 'The configuration file [default: /etc/callhome-relay/relay.toml, if it exists]' -r -F
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from clock" -l confirm -d 'Say that the clock is right and that the time has passed: records get older by it, so that `keep` deletes those that are too old'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from clock" -l json -d 'One JSON object'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from clock" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from keygen" -l config -d 'The configuration file [default: /etc/callhome-relay/relay.toml, if it exists]' -r -F
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from keygen" -s h -l help -d 'Print help'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "verify" -d 'Prove that no record was changed, removed, inserted or moved'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "tail" -d 'Show the records to people, as they are or as they come'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "report" -d 'Sum up a month, by client and destination'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "quiet" -d 'Say which clients haven\'t called home, since when, and why'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "export" -d 'Convert the records for another program'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "schema" -d 'Print the JSON Schema of a record'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "clock" -d 'Show by how much the clock jumped ahead, and confirm that the time has passed'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "keygen" -d 'Make the first key that seals a trail, and print its public half'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand health" -l admin -d 'The address of the relay\'s admin listener' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand health" -l live -d 'Ask only whether the process is alive, not whether the relay is ready'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand health" -s h -l help -d 'Print help'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand certs" -l dir -d 'The directory for the files. A CA in it is used again; otherwise a new CA is made' -r -F
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand certs" -l name -d 'A name or address by which clients reach the relay. All that are given go into one certificate' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand certs" -l client -d 'The name in a client\'s certificate. Each client gets a certificate of its own' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand certs" -l days -d 'For how many days the relay\'s and the clients\' certificates are valid' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand certs" -s h -l help -d 'Print help'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand zvm; and not __fish_seen_subcommand_from setup help" -s h -l help -d 'Print help'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand zvm; and not __fish_seen_subcommand_from setup help" -f -a "setup" -d 'Print the commands that point a ZVM at the relay, read the setting back and undo it'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand zvm; and not __fish_seen_subcommand_from setup help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand zvm; and __fish_seen_subcommand_from setup" -l relay -d 'The relay\'s name or address, and its port, as the ZVM reaches it' -r
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand zvm; and __fish_seen_subcommand_from setup" -l format -d 'What to print: commands with explanations, or a PowerShell script that takes `-WhatIf`' -r -f -a "text\t''
powershell\t''"
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand zvm; and __fish_seen_subcommand_from setup" -s h -l help -d 'Print help'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand zvm; and __fish_seen_subcommand_from help" -f -a "setup" -d 'Print the commands that point a ZVM at the relay, read the setting back and undo it'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand zvm; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand completions" -s h -l help -d 'Print help'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand man" -l dir -d 'Write a page for each command into this directory, and replace those in it' -r -F
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand man" -s h -l help -d 'Print help'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and not __fish_seen_subcommand_from serve check demo explain config audit health certs zvm completions man help" -f -a "serve" -d 'Run the relay, with the built-in defaults if there is no configuration file'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and not __fish_seen_subcommand_from serve check demo explain config audit health certs zvm completions man help" -f -a "check" -d 'Check the configuration, then the way from here to each destination, hop by hop: for a failure it names the likely cause and the next step'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and not __fish_seen_subcommand_from serve check demo explain config audit health certs zvm completions man help" -f -a "demo" -d 'Show a relay at work without a network: a stand-in server, three machines, uploads that are allowed and refused'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and not __fish_seen_subcommand_from serve check demo explain config audit health certs zvm completions man help" -f -a "explain" -d 'Explain what policy decides for a client and a target, and by which rule'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and not __fish_seen_subcommand_from serve check demo explain config audit health certs zvm completions man help" -f -a "config" -d 'Print the default file, the effective configuration, or its JSON Schema'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and not __fish_seen_subcommand_from serve check demo explain config audit health certs zvm completions man help" -f -a "audit" -d 'Verify the audit trail, follow it, report on it, convert it'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and not __fish_seen_subcommand_from serve check demo explain config audit health certs zvm completions man help" -f -a "health" -d 'Ask the running relay\'s admin listener whether the relay is ready'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and not __fish_seen_subcommand_from serve check demo explain config audit health certs zvm completions man help" -f -a "certs" -d 'Make a CA, the relay\'s certificate, and certificates for its clients'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and not __fish_seen_subcommand_from serve check demo explain config audit health certs zvm completions man help" -f -a "zvm" -d 'Point Zerto\'s machines at the relay'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and not __fish_seen_subcommand_from serve check demo explain config audit health certs zvm completions man help" -f -a "completions" -d 'Print the completions for a shell'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and not __fish_seen_subcommand_from serve check demo explain config audit health certs zvm completions man help" -f -a "man" -d 'Print the manual page, or write a page for each command'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and not __fish_seen_subcommand_from serve check demo explain config audit health certs zvm completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "default" -d 'Print the commented default file'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "show" -d 'Print the effective configuration, presets included'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "schema" -d 'Print the JSON Schema of the file'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and __fish_seen_subcommand_from audit" -f -a "verify" -d 'Prove that no record was changed, removed, inserted or moved'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and __fish_seen_subcommand_from audit" -f -a "tail" -d 'Show the records to people, as they are or as they come'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and __fish_seen_subcommand_from audit" -f -a "report" -d 'Sum up a month, by client and destination'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and __fish_seen_subcommand_from audit" -f -a "quiet" -d 'Say which clients haven\'t called home, since when, and why'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and __fish_seen_subcommand_from audit" -f -a "export" -d 'Convert the records for another program'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and __fish_seen_subcommand_from audit" -f -a "schema" -d 'Print the JSON Schema of a record'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and __fish_seen_subcommand_from audit" -f -a "clock" -d 'Show by how much the clock jumped ahead, and confirm that the time has passed'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and __fish_seen_subcommand_from audit" -f -a "keygen" -d 'Make the first key that seals a trail, and print its public half'
complete -c callhome-relay -n "__fish_callhome_relay_using_subcommand help; and __fish_seen_subcommand_from zvm" -f -a "setup" -d 'Print the commands that point a ZVM at the relay, read the setting back and undo it'
