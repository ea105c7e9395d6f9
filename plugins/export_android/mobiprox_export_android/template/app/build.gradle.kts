plugins {
    id("com.android.application")
}

android {
    namespace = "org.mobiprox.sample"
    compileSdk = 34
    defaultConfig {
        applicationId = "org.mobiprox.sample"
        minSdk = 24
        targetSdk = 34
        versionCode = 1
        versionName = "1"
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_1_8
        targetCompatibility = JavaVersion.VERSION_1_8
    }
}

dependencies {
    implementation(project(":mobiprox"))
}
