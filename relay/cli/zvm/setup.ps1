<#
.SYNOPSIS
Points the account of this ZVM's service, LocalService, at the relay @RELAY@.

.DESCRIPTION
Sets the account's proxy with bitsadmin and reads it back. With -WhatIf it says what it would set, and only reads.

AutoScript, the default, is the relay's proxy.pac: the hosts on the relay's allowlist go to the relay, everything else directly.
With ManualProxy everything goes to the relay that -Bypass doesn't name: without the right list the ZVM's traffic to its vCenter
and to its peer ZVMs too, and the relay refuses it. Reset undoes both.

.PARAMETER Mode
AutoScript, ManualProxy or Reset.

.PARAMETER Bypass
For ManualProxy: the hosts that are reached without the relay, as bitsadmin takes them. NULL is none. Compare what is read back:
Microsoft's page has the entries separated by spaces, scripts seen in public have semicolons.

.EXAMPLE
.\zvm-proxy.ps1 -WhatIf

.EXAMPLE
.\zvm-proxy.ps1 -Mode Reset

.NOTES
The account: https://www.zerto.com/myzerto/knowledge-base/zerto-csp-automated-billing-call-home/
bitsadmin: MicrosoftDocs/windowsserverdocs, WindowsServerDocs/administration/windows-commands/bitsadmin-util-and-setieproxy.md
The accounts' own settings: MicrosoftDocs/win32, desktop-src/Bits/service-accounts-and-bits.md
A test, with Windows Server 2019 or later: curl.exe -v -x http://@RELAY@ https://@HOST@/
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator

[CmdletBinding(SupportsShouldProcess)]
param(
    [ValidateSet('AutoScript', 'ManualProxy', 'Reset')]
    [string] $Mode = 'AutoScript',

    [ValidateNotNullOrEmpty()]
    [string] $Bypass = 'NULL'
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

function Invoke-BitsAdmin {
    param([string[]] $Arguments)
    & bitsadmin.exe @Arguments
    if ($LASTEXITCODE -ne 0) {
        throw "bitsadmin $Arguments ended with $LASTEXITCODE"
    }
}

$usage = switch ($Mode) {
    'AutoScript' { 'AUTOSCRIPT', 'http://@RELAY@/proxy.pac' }
    'ManualProxy' { 'MANUAL_PROXY', '@RELAY@', $Bypass }
    'Reset' { 'RESET' }
}
$set = @('/util', '/setieproxy', 'localservice') + $usage

if ($PSCmdlet.ShouldProcess('localservice', "bitsadmin $set")) {
    Invoke-BitsAdmin -Arguments $set
}
Invoke-BitsAdmin -Arguments @('/util', '/getieproxy', 'localservice')
